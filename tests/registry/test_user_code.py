from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import pickle
import py_compile
import sys
from pathlib import Path

import pytest

from optrun.experiments.errors import CodeNotAllowedError, UsageError
from optrun.experiments.registry.user_code import CodeFile, absolute_reference, is_code_reference, load_object

NET = "class Net:\n    depth = {}\n"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder on sys.path, whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "is_code"), [("adam", False), ("pkg.mod:Net", True), ("./net.py:Net", True), ("net.py", False)]
)
def test_references_have_a_colon(name, is_code):
    assert is_code_reference(name) is is_code


def test_a_reference_is_made_absolute(tmp_path):
    assert absolute_reference("./net.py:Net", tmp_path) == f"{tmp_path}/net.py:Net"
    assert absolute_reference("../net.py:Net", tmp_path / "configs") == f"{tmp_path}/net.py:Net"
    assert absolute_reference(f"{tmp_path}/net.py:Net", Path("elsewhere")) == f"{tmp_path}/net.py:Net"
    assert absolute_reference("pkg.mod:Net", tmp_path) == "pkg.mod:Net"


def test_a_file(tmp_path):
    path = write(tmp_path / "net.py", NET.format(3))
    for name, base in [("./net.py:Net", tmp_path), ("net.py:Net", tmp_path), (f"{path}:Net", Path("elsewhere"))]:
        net, code = load_object(name, base)
        assert (net.__name__, net.depth) == ("Net", 3)
        assert code == CodeFile(str(path), sha256(path))


def test_a_module(site):
    path = write(site / "uc_package" / "mod.py", NET.format(4))
    write(site / "uc_package" / "__init__.py", "")
    net, code = load_object("uc_package.mod:Net", Path("elsewhere"))
    assert (net.__module__, net.depth) == ("uc_package.mod", 4)
    assert code == CodeFile(str(path), sha256(path))
    assert importlib.import_module("uc_package.mod").Net is net, "the module that everybody else gets"
    assert sys.modules["uc_package"].mod.Net is net


def test_modules_of_packages_of_all_kinds(site):
    write(site / "uc_one.py", NET.format(1))
    write(site / "uc_two" / "__init__.py", "from .inner import Net\n")
    write(site / "uc_two" / "inner.py", NET.format(2))
    write(site / "uc_space" / "deep" / "mod.py", NET.format(3))  # namespace packages: no __init__.py
    names = ["uc_one:Net", "uc_two:Net", "uc_two.inner:Net", "uc_space.deep.mod:Net"]
    assert [load_object(name, Path())[0].depth for name in names] == [1, 2, 2, 3]
    assert load_object("uc_two:Net", Path())[0] is load_object("uc_two.inner:Net", Path())[0]


@pytest.mark.parametrize(
    "name", ["net.py:", ":Net", ":", "net.py:A.B", "net.py:A B", "net.py:3", "pkg.mod:A.B", "net.py:a()"]
)
def test_malformed_references(tmp_path, name):
    write(tmp_path / "net.py", "class A:\n    class B: ...\n")
    with pytest.raises(UsageError, match=r"is not `pkg\.mod:Class` or `\./file\.py:Class`"):
        load_object(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nothing.py:Net", r"^no file .*/nothing\.py$"),
        ("./folder.py:Net", r"^no file .*/folder\.py$"),
        ("no_such_module_here:Net", "^no module 'no_such_module_here' in this Python: is it installed"),
        ("uc_package.missing.mod:Net", "^no module 'uc_package.missing' in this Python"),
        ("uc_module.mod:Net", "^no module 'uc_module.mod' in this Python"),
        ("uc_package:Net", r"^.*uc_package/__init__\.py: no object named 'Net'\. Known: none$"),
        ("uc_space:Net", "^'uc_space' is no module with a source file$"),
        (".uc_module:Net", r"^no module '\.uc_module'"),
        ("uc_package..mod:Net", r"^no module 'uc_package\.\.mod'"),
        ("uc module:Net", "^no module 'uc module'"),
        ("./uc_module:Net", r"^no module '\./uc_module', and no file that ends in \.py"),
        ("uc_module:Nett", r"^.*uc_module\.py: no object named 'Nett'\. Did you mean 'Net'\? Known: Net$"),
        ("zlib:compress", "standard library"),
        ("os:system", "^'os' is part of Python's standard library, which holds no components$"),
        ("os.path:join", "standard library"),
        ("subprocess:run", "standard library"),
        ("sys:exit", "standard library"),
        (f"{os.__file__}:system", "standard library"),
        (f"{importlib.__file__}:import_module", "standard library"),
        ("numpy._core._multiarray_umath:dot", "is compiled .*name a Python file that imports it"),
    ],
)
def test_what_is_not_there(site, name, message):
    (site / "folder.py").mkdir()
    (site / "uc_space").mkdir()
    write(site / "uc_package" / "__init__.py", "")
    write(site / "uc_module.py", NET.format(1))
    with pytest.raises(UsageError, match=message):
        load_object(name, site)


def test_a_link_into_the_standard_library_is_refused(tmp_path):
    (tmp_path / "mine.py").symlink_to(os.__file__)
    with pytest.raises(UsageError, match="standard library"):
        load_object("./mine.py:system", tmp_path)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(self):
        raise PermissionError(13, "Permission denied")

    write(tmp_path / "net.py", NET.format(1))
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UsageError, match=r"net\.py cannot be read: Permission denied"):
        load_object("./net.py:Net", tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\ndef broken(:", r"net\.py:2 fails when imported: SyntaxError: "),
        ("\n\nraise RuntimeError('boom')", r"net\.py:3 fails when imported: RuntimeError: boom$"),
        ("def f():\n    {}['key']\n\nf()", r"net\.py:2 fails when imported: KeyError: 'key'$"),
        ("import json\njson.loads('{')", r"net\.py:2 fails when imported: JSONDecodeError"),
        ("import sys\nsys.exit(3)", r"net\.py:2 fails when imported: SystemExit: 3$"),
        ("import no_such_module_here", r"net\.py:1 fails when imported: ModuleNotFoundError: [^;]*$"),
        (
            "import neighbour",
            r"net\.py:1 fails .*'neighbour'; it lies beside the file, .* begin the command with PYTHONPATH=/",
        ),
        ("from . import neighbour", r"net\.py:1 fails .*belongs to no package: name it as `pkg\.mod:Class`$"),
        ("from .neighbour import Net", r"net\.py:1 fails .*belongs to no package: name it as `pkg\.mod:Class`$"),
        ("x = '\0'", r"net\.py.* fails when imported: (SyntaxError|ValueError): source code .*null bytes"),
        ("# coding: no-such-coding\n", r"net\.py.* fails when imported: SyntaxError: "),
    ],
)
def test_code_that_fails_is_reported_as_the_users_with_its_line(tmp_path, code, message):
    write(tmp_path / "net.py", code)
    write(tmp_path / "neighbour.py", NET.format(1))
    before, finders = set(sys.modules), list(sys.meta_path)
    for _ in range(2):
        with pytest.raises(UsageError, match=message) as caught:
            load_object("./net.py:Net", tmp_path)
        assert caught.value.__cause__ is not None
    assert not [name for name in set(sys.modules) - before if name.startswith("optrun_user_")]
    assert sys.meta_path == finders


def test_an_interrupt_while_importing_is_no_fault_of_the_code(tmp_path):
    write(tmp_path / "net.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_object("./net.py:Net", tmp_path)


@pytest.mark.parametrize("folder", ["with spaces", "größe/模型", "dots.and.py", "it's"])
def test_paths_of_all_kinds(tmp_path, folder):
    path = write(tmp_path / folder / "my net.py", NET.format(3))
    net, code = load_object(f"./{folder}/my net.py:Net", tmp_path)
    assert (net.depth, code.path) == (3, str(path))


def test_names_need_not_be_ascii(tmp_path):
    write(tmp_path / "netz.py", "class Größe: ...\n")
    assert load_object("./netz.py:Größe", tmp_path)[0].__name__ == "Größe"


def test_a_link_is_recorded_as_the_file_behind_it(tmp_path):
    path = write(tmp_path / "real" / "net.py", NET.format(3))
    (tmp_path / "link.py").symlink_to(path)
    net, code = load_object("./link.py:Net", tmp_path)
    assert code.path == str(path)
    assert net is load_object("./real/net.py:Net", tmp_path)[0]
    other = write(tmp_path / "other" / "net.py", NET.format(4))
    (tmp_path / "link.py").unlink()
    (tmp_path / "link.py").symlink_to(other)
    with pytest.raises(CodeNotAllowedError, match=r"other/net\.py is not code that the run was made with"):
        load_object("./link.py:Net", tmp_path, trusted={code.path: code.sha256})


def test_a_file_is_imported_once(tmp_path):
    write(tmp_path / "net.py", "import os\nos.mkdir('imported')\n" + NET.format(1))
    assert load_object("./net.py:Net", tmp_path)[0] is load_object("./net.py:Net", tmp_path)[0]
    assert Path("imported").exists()


def test_a_changed_file_is_another_module_and_the_old_object_lives_on(tmp_path):
    path = write(tmp_path / "net.py", "DEPTH = 1\nclass Net:\n    def depth(self): return DEPTH\n")
    old, old_code = load_object("./net.py:Net", tmp_path)
    state = path.stat()
    path.write_text(path.read_text().replace("DEPTH = 1", "DEPTH = 2"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as large and as old as before
    new, new_code = load_object("./net.py:Net", tmp_path)
    assert (old().depth(), new().depth()) == (1, 2)
    assert old_code.sha256 != new_code.sha256
    assert pickle.loads(pickle.dumps(old())).depth() == 1


def test_files_of_one_name_do_not_clash(tmp_path):
    write(tmp_path / "a" / "net.py", NET.format(1))
    write(tmp_path / "b" / "net.py", NET.format(2))
    assert [load_object(f"./{folder}/net.py:Net", tmp_path)[0].depth for folder in "ab"] == [1, 2]


def test_copies_in_two_folders_are_two_modules(tmp_path):
    """Each may read what lies beside it."""
    code = "from pathlib import Path\nclass Net:\n    note = Path(__file__).with_name('note').read_text()\n"
    for folder in "ab":
        write(tmp_path / folder / "net.py", code)
        write(tmp_path / folder / "note", folder)
    assert [load_object(f"./{folder}/net.py:Net", tmp_path)[0].note for folder in "ab"] == ["a", "b"]


def test_objects_of_a_file_can_be_pickled_and_inspected(tmp_path):
    code = "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
    write(tmp_path / "net.py", code + "@dataclass\nclass Net:\n    depth: int = 3\n")
    net, _ = load_object("./net.py:Net", tmp_path)
    assert pickle.loads(pickle.dumps(net(5))) == net(5)
    assert pickle.loads(pickle.dumps(net)) is net
    assert inspect.getsource(net).splitlines()[-1] == "    depth: int = 3"


def test_the_working_folder_stays_clean(tmp_path):
    write(tmp_path / "net.py", NET.format(1))
    load_object("./net.py:Net", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


MARKED = "from pathlib import Path\nPath('executed').write_text('x')\n" + NET.format(1)


@pytest.fixture(params=["file", "module"])
def reference(request, site):
    """Return the name of a class whose file leaves a mark when it is executed, and the file."""
    path = write(site / f"uc_marked_{request.param}.py", MARKED)
    return (f"{path}:Net" if request.param == "file" else "uc_marked_module:Net"), path


def test_code_that_the_run_was_made_with_is_accepted(reference):
    name, path = reference
    net, code = load_object(name, Path(), trusted={str(path): sha256(path), "/other.py": "0"})
    assert net.depth == 1
    assert code == CodeFile(str(path), sha256(path))
    assert Path("executed").exists()


@pytest.mark.parametrize(
    ("trusted", "phrase"),
    [
        (lambda path: {}, "is not code that the run was made with: read it, then add --allow-code"),
        (lambda path: {str(path): "0" * 64}, "has changed since the run was made: read it, then add --allow-code"),
        (lambda path: {str(path): ""}, "has changed since"),
        (lambda path: {f"{path.parent}/../other.py": sha256(path)}, "is not code that"),
        (lambda path: {path.name: sha256(path)}, "is not code that"),
    ],
)
def test_other_code_is_refused_before_any_of_it_is_executed(reference, trusted, phrase):
    name, path = reference
    with pytest.raises(CodeNotAllowedError, match=f"^{path} {phrase}"):
        load_object(name, Path(), trusted=trusted(path))
    assert not Path("executed").exists()


def test_no_package_around_a_module_is_executed_before_the_check(site):
    mark = "from pathlib import Path\nPath('executed').write_text('x')\n"
    write(site / "uc_outer" / "__init__.py", mark)
    write(site / "uc_outer" / "inner" / "__init__.py", mark)
    path = write(site / "uc_outer" / "inner" / "mod.py", NET.format(1))
    with pytest.raises(CodeNotAllowedError):
        load_object("uc_outer.inner.mod:Net", Path(), trusted={})
    assert not Path("executed").exists()
    assert "uc_outer" not in sys.modules
    assert load_object("uc_outer.inner.mod:Net", Path(), trusted={str(path): sha256(path)})[0].depth == 1
    assert Path("executed").exists()


def test_what_is_executed_is_what_was_hashed(reference, monkeypatch):
    """The file changes between the check and the import."""
    name, path = reference
    checked = sha256(path)
    read = Path.read_bytes

    def read_then_change(self):
        content = read(self)
        if self == path:
            path.write_text(NET.format(666))
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_change)
    net, code = load_object(name, Path(), trusted={str(path): checked})
    assert net.depth == 1
    assert code.sha256 == checked


def test_a_stale_cache_of_bytecode_is_not_executed(reference):
    name, path = reference
    path.write_text(NET.format(666))
    cache = py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert cache is not None
    path.write_text(NET.format(1))
    assert load_object(name, Path(), trusted={str(path): sha256(path)})[0].depth == 1


def test_a_parent_that_imports_the_module_gets_the_checked_one(site):
    write(
        site / "uc_eager" / "__init__.py",
        "from pathlib import Path\nPath(__path__[0], 'mod.py').write_text('')\nfrom .mod import Net\n",
    )
    path = write(site / "uc_eager" / "mod.py", NET.format(1))
    assert load_object("uc_eager.mod:Net", Path(), trusted={str(path): sha256(path)})[0].depth == 1


def test_a_module_that_changed_after_it_was_imported_is_not_passed_off_as_new(site):
    path = write(site / "uc_changing.py", NET.format(1))
    first, code = load_object("uc_changing:Net", Path())
    path.write_text(NET.format(2))
    with pytest.raises(UsageError, match=r"uc_changing\.py has changed since this process imported it"):
        load_object("uc_changing:Net", Path())
    path.write_text(NET.format(1))
    assert load_object("uc_changing:Net", Path()) == (first, code)
