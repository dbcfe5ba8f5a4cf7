"""How names of files become classes and rows."""

import pytest

from app.datafiles import image_folder
from app.datafiles.image_folder import arranged, is_picture
from app.datafiles.unreadable import UnreadableData


def refusal(*names: str) -> str:
    with pytest.raises(UnreadableData) as caught:
        arranged(names)
    return str(caught.value)


def test_arranged_numbers_classes_and_pictures_by_their_names() -> None:
    found = arranged(["dog/2.png", "cat/9.JPG", "dog/10.bmp", "cat/1.jpeg"])
    assert found.classes == ("cat", "dog")
    assert [tuple(picture) for picture in found.train] == [
        ("cat/1.jpeg", "jpeg", 0),
        ("cat/9.JPG", "jpeg", 0),
        ("dog/10.bmp", "bmp", 1),
        ("dog/2.png", "png", 1),
    ]
    assert found.test is None


@pytest.mark.parametrize("top", ["", "data/", "train/"])
def test_arranged_passes_over_one_folder_around_all(top: str) -> None:
    found = arranged([f"{top}cat/1.png", f"{top}dog/1.png"])
    assert (found.classes, found.test) == (("cat", "dog"), None)
    assert found.train[1].entry == f"{top}dog/1.png"


@pytest.mark.parametrize("top", ["", "data/"])
def test_arranged_takes_train_and_test_as_given(top: str) -> None:
    found = arranged([f"{top}test/dog/1.png", f"{top}train/cat/1.png", f"{top}train/dog/2.png"])
    assert found.classes == ("cat", "dog")
    assert [picture.entry for picture in found.train] == [
        f"{top}train/cat/1.png",
        f"{top}train/dog/2.png",
    ]
    assert found.test is not None
    assert [tuple(picture) for picture in found.test] == [(f"{top}test/dog/1.png", "png", 1)]


def test_arranged_reads_names_that_do_not_say_that_they_are_utf8() -> None:
    unsaid = "chat é/1.png".encode().decode("cp437")
    found = arranged([unsaid, "Käse/1.png", "犬/1.png"])
    assert found.classes == ("Käse", "chat é", "犬")
    assert found.train[1].entry == unsaid


def test_arranged_takes_train_and_test_for_classes_where_pictures_lie_in_them() -> None:
    assert arranged(["train/1.png", "test/1.png"]).classes == ("test", "train")


def test_arranged_passes_over_what_is_hidden_and_says_so() -> None:
    hidden = ["__MACOSX/cat/._1.png", "cat/.DS_Store", ".git/config", "dog/Thumbs.db"]
    found = arranged(["cat/", "dog/", "cat/1.png", "dog/1.png", *hidden])
    assert len(found.train) == 2
    assert found.notes == ("4 hidden files were passed over",)
    assert not any(map(is_picture, hidden))


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["cat/.1.png"], "the archive holds no pictures"),
        (["cat/1.png", "dog/1.png", "notes.txt"], "'notes.txt' is not named as a picture"),
        (["cat/1.png", "dog/1.tiff"], "'dog/1.tiff' is not named as a picture"),
        (["cat/1.png", "dog/1.png", "2.png"], "'2.png' lies in no folder of a class"),
        (["cat/1.png", "dog/a/1.png"], "'dog/a/1.png' lies in no folder of a class"),
        (["cat/1.png", "cat/2.png"], "all pictures lie in one folder, 'cat'"),
        (["1.png", "2.png"], "'1.png' lies in no folder"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "test has the class 'c', train has"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "beside train there is a folder 'val'"),
        (["train/a/1.png", "test/a/1.png", "Val/a/1.png"], "beside train there is a folder 'Val'"),
        (["a\u202eb/1.png", "cat/1.png"], "a class is called 'a\\u202eb'"),
        (["c" * 81 + "/1.png", "cat/1.png"], "a class is called 'ccc"),
    ],
)
def test_arranged_refuses_what_is_no_folder_a_class(names: list[str], why: str) -> None:
    assert why in refusal(*names)


def test_arranged_takes_a_name_as_text_whatever_it_means_elsewhere() -> None:
    assert arranged(["<b>/1.png", "R&D/1.png"]).classes == ("<b>", "R&D")


def test_arranged_takes_classes_that_are_called_like_parts() -> None:
    assert arranged(["train/1.png", "val/1.png"]).classes == ("train", "val")


def test_arranged_refuses_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}/1.png" for number in range(5)]
    monkeypatch.setattr(image_folder, "MAX_CLASSES", 4)
    assert "5 folders of classes; at most 4" in refusal(*names)
    monkeypatch.setattr(image_folder, "MAX_PICTURES", 4)
    assert "5 pictures; at most 4" in refusal(*names)
