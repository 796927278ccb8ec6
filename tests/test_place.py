"""A place for a file in; one that takes it whole, or not at all, out."""

import os
import stat
import subprocess
import sys

import pytest

from hybrid.archive import place


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with place.whole(path, "utf-8") as file:
        file.write("a\r\nb\n")
        assert path.read_text() == "before"
    assert path.read_bytes() == b"a\r\nb\n"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_of_a_file_that_fails_nothing_stays(tmp_path, error, monkeypatch):
    path = tmp_path / "out.bin"
    path.write_bytes(b"before")
    monkeypatch.setattr(place, "flush", lambda file: (_ for _ in ()).throw(error))
    with pytest.raises(error), place.whole(path) as file:
        file.write(b"half")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_a_name_that_was_guessed_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr(place.secrets, "token_hex", lambda size: "guessed")
    (tmp_path / ".out.csv.guessed").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), place.whole(tmp_path / "out.csv", "utf-8"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_names_cannot_be_foreseen(tmp_path):
    names = {place.beside(tmp_path / "a").name for _ in range(50)}
    assert len(names) == 50
    assert min(map(len, names)) > 16


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with place.whole(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_device_is_written_to_and_never_replaced():
    assert place.obstacle("/dev/null") is None
    with place.whole("/dev/null") as file:
        file.write(b"nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    program = "from hybrid.archive.place import whole\nwith whole('/dev/stdout', 'utf-8') as file: file.write('hello')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "hello"


def test_obstacles_are_named_before_anything_is_written(tmp_path):
    assert place.obstacle(tmp_path / "out.csv") is None
    assert place.obstacle(tmp_path / "absent" / "out.csv") == "there is no such folder"
    assert place.obstacle(tmp_path) == "it is a folder"
    (tmp_path / "file").touch()
    assert place.obstacle(tmp_path / "file" / "out.csv") == "not a directory"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(
        ValueError, match=r"Cannot write '.*absent/out\.csv': there is no such folder. Choose"
    ):
        place.check(tmp_path / "absent" / "out.csv")


def test_a_disk_without_room_is_an_obstacle(tmp_path):
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no right to mount")
    try:
        assert place.obstacle(tmp_path / "out.csv") == "no space left on device"
        assert not os.listdir(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        assert place.obstacle(tmp_path / "out.csv") == "read-only file system"
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
