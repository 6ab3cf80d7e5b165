"""What is unpickled lies where only its owner can write: else it is not used, and that is said once."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from hogwild.engine import compiling
from hogwild.engine.compiling import user_cache


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Return to an environment without a cache, and to the one before; nothing is left behind."""
    monkeypatch.setenv("HOGWILD_CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(tmp_path))
    compiling._private.cache_clear()
    (tmp_path / "home").mkdir()
    yield
    compiling._private.cache_clear()


def mode(folder):
    return folder.stat().st_mode & 0o777


def test_a_cache_is_made_for_its_owner_alone(tmp_path):
    folder = user_cache()
    assert folder == tmp_path / "home/.cache/hogwild"
    assert {mode(part) for part in (folder, *folder.iterdir())} == {0o700}
    assert {part.name for part in folder.iterdir()} == {"kernels", "optima", "rows"}
    assert user_cache() == folder


def test_the_variables_name_another_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg/hogwild"
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(tmp_path / "own"))
    assert user_cache() == tmp_path / "own"


def unsafe(reason, patch=None):
    """Ask for the cache: it must warn once, with a reason, and give a folder of this process."""
    with pytest.warns(RuntimeWarning, match=rf"is not used as a cache: .*{reason}") as caught:
        folder = user_cache()
    assert len(caught) == 1
    if patch:
        patch.undo()
    assert mode(folder) == 0o700
    assert os.environ["HOGWILD_CACHE_DIR"] == str(folder)  # its workers use it, too
    with warnings.catch_warnings(action="error"):
        assert user_cache() == folder
    compiling._remove(str(folder), os.getpid() + 1)
    assert folder.exists()
    compiling._remove(str(folder), os.getpid())
    assert not folder.exists()


@pytest.mark.parametrize("bits", [0o777, 0o757, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(monkeypatch, tmp_path, bits):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(bits)
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(shared))
    unsafe(f"others can write to '{shared}'")


@pytest.mark.parametrize("part", ["kernels", "optima", "rows"])
def test_nor_is_one_with_a_part_that_others_can_write_to(part):
    folder = user_cache()
    (folder / part).chmod(0o707)
    compiling._private.cache_clear()
    unsafe(f"others can write to '{folder / part}'")


def test_nor_one_in_a_folder_where_others_can_replace_it_unless_that_is_sticky(monkeypatch, tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o1777)
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(above / "mine"))
    assert user_cache() == above / "mine"
    above.chmod(0o777)
    compiling._private.cache_clear()
    unsafe(f"others can write to '{above}'")


def test_nor_a_link_to_such_a_folder(monkeypatch, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(tmp_path / "link"))
    unsafe("others can write to")


def test_nor_what_belongs_to_somebody_else():
    folder = user_cache()
    compiling._private.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        unsafe(rf"'{folder}' belongs to the user {os.getuid()}", patch)


def test_the_group_that_is_its_users_alone_may_write(monkeypatch):
    grp, pwd = pytest.importorskip("grp"), pytest.importorskip("pwd")
    folder = user_cache()
    folder.chmod(0o770)
    me = pwd.getpwuid(os.geteuid()).pw_name
    cases = [([], me, True), ([me], me, True), ([me, "other"], me, False), ([], "staff", False)]
    cases = [([], me, True), ([me], me, True), ([me, "other"], me, False), ([], "staff", False)]
    for members, name, alone in cases:
        entry = grp.struct_group((name, "x", folder.stat().st_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda group, entry=entry: entry)
        assert (compiling._unsafe(folder) == "") is alone


def test_without_a_home_or_with_one_that_is_no_folder(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "home", homeless)
        unsafe("there is no home folder")
    monkeypatch.setenv("HOGWILD_CACHE_DIR", "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    unsafe("Not a directory")


def test_a_folder_that_cannot_be_written_to_is_not_used():
    def read_only(*arguments, **options):
        raise OSError(30, "Read-only file system")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling.tempfile, "TemporaryFile", read_only)
        unsafe("Read-only file system", patch)


def test_kernels_lie_in_no_folder_of_others_either(monkeypatch, tmp_path):
    given = tmp_path / "numba"
    given.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(given))
    assert Path(compiling._kernel_cache.__wrapped__()).parent == given
    given.chmod(0o777)
    compiling._private.cache_clear()
    with pytest.warns(RuntimeWarning, match="give NUMBA_CACHE_DIR a folder"):
        folder = Path(compiling._kernel_cache.__wrapped__())
    assert given not in folder.parents
    compiling._remove(str(folder.parent), os.getpid())


def test_a_process_takes_its_folder_with_it(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    env = os.environ | {"HOGWILD_CACHE_DIR": str(tmp_path / "shared"), "TMPDIR": str(tmp_path)}
    env |= {"NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "default"}
    code = "from hogwild.engine.compiling import user_cache\nimport numpy as np, hogwild\n"
    code += "print(user_cache(), user_cache().is_dir())\n"
    code += "print(hogwild.problems.LeastSquares.from_data(np.eye(2), [1, 2]).solve().objective < 1e-9)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    folder, there, solved = done.stdout.split()
    assert (there, solved) == ("True", "True")
    assert done.stderr.count("is not used as a cache") == 1
    assert Path(folder).parent == tmp_path
    assert not Path(folder).exists()
    assert list((tmp_path / "shared").iterdir()) == []
