"""Commands while they run: headers, progress lines, bars and boards, results."""
