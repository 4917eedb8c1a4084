import json
import os
import re
from pathlib import Path

import pytest

from umanet.data.index import ClassDefinition, DatasetIndex, read_index, require_trainable, write_index
from umanet.errors import DatasetError, OutputError
from umanet.types import Case, Task


def values(**changes):
    """What a small dataset.json holds."""
    content = {
        "format": "umanet-dataset",
        "version": 1,
        "name": "small",
        "spatial_dims": 2,
        "channels": ["grey"],
        "classes": [{"name": "background", "values": [0]}, {"name": "nodule", "values": [255, 1]}],
        "annotators": ["anna", "ben"],
        "annotators_are_identified": True,
        "splits": None,
        "cases": [a_case()],
    }
    return {**content, **changes}


def a_case(**changes):
    return {
        "id": "a",
        "image": ["images/a.png"],
        "annotations": {"anna": "annotations/anna/a.png"},
        "truth": None,
        "patient": "p1",
        "split": "train",
        **changes,
    }


def written(folder: Path, content) -> Path:
    path = folder / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_paths_are_absolute_in_memory_and_relative_in_the_file(tmp_path):
    index = read_index(written(tmp_path, values()))
    assert index.cases[0].image == (tmp_path / "images" / "a.png",)
    assert index.cases[0].annotations == {"anna": tmp_path / "annotations" / "anna" / "a.png"}
    (tmp_path / "deeper").mkdir()
    write_index(index, tmp_path / "deeper" / "dataset.json")
    stored = json.loads((tmp_path / "deeper" / "dataset.json").read_text())
    assert stored["cases"][0]["image"] == ["../images/a.png"]


def test_paths_are_the_same_however_the_file_spells_them(tmp_path):
    spelt = {"..b/a.png": "..b/a.png", "./x//a.png": "x/a.png", "x/../a.png": "a.png", "../o/a.png": "../o/a.png"}
    content = values()
    content["cases"] = [{**content["cases"][0], "id": f"case{n}", "image": [p]} for n, p in enumerate(spelt)]
    content["cases"].append({**content["cases"][0], "id": "absolute", "image": ["/elsewhere/a.png"]})
    index = read_index(written(tmp_path, content))
    *inside, absolute = [case.image[0] for case in index.cases]
    assert inside == [Path(os.path.normpath(tmp_path / path)) for path in spelt]
    assert absolute == Path("/elsewhere/a.png")
    write_index(index, tmp_path / "dataset.json")
    stored = [case["image"][0] for case in json.loads((tmp_path / "dataset.json").read_text())["cases"]]
    assert stored[:-1] == list(spelt.values())
    assert read_index(tmp_path / "dataset.json") == index
    write_index(index, tmp_path / "x" / "dataset.json")
    assert read_index(tmp_path / "x" / "dataset.json") == index


def test_a_folder_in_place_of_the_file_is_said_to_be_one(tmp_path):
    with pytest.raises(DatasetError, match=r"A folder found at .*, a dataset\.json expected\. Make one with"):
        read_index(tmp_path)
    path = written(tmp_path, values())
    with pytest.raises(DatasetError, match=rf"A folder found at .*expected\. Name {re.escape(str(path))}\.$"):
        read_index(tmp_path)


def test_an_index_goes_round(tmp_path):
    index = read_index(written(tmp_path, values(splits={"method": "m", "seed": 3, "fractions": {"train": 1.0}})))
    write_index(index, tmp_path / "other.json")
    assert read_index(tmp_path / "other.json") == index
    assert index.task == Task(2, ("grey",), ("background", "nodule"), ("anna", "ben"))


def test_who_draws_what_reaches_the_task(tmp_path):
    content = values(annotator_classes={"ben": ["nodule"]}, ignore=[9])
    content["classes"].append({"name": "cyst", "values": [5]})
    index = read_index(written(tmp_path, content))
    assert index.task.drawn == ((1, 2), (1,)) and index.ignore == (9,)
    write_index(index, tmp_path / "again.json")
    assert read_index(tmp_path / "again.json") == index


def test_a_task_in_which_everybody_draws_all_says_nothing_of_it(tmp_path):
    assert read_index(written(tmp_path, values())).task.drawn == ()


def test_a_case_without_patient_is_a_patient_of_its_own(tmp_path):
    assert read_index(written(tmp_path, values(cases=[a_case(patient=None)]))).cases[0].patient == "a"


def test_cases_are_selected_by_split(tmp_path):
    index = read_index(
        written(tmp_path, values(cases=[a_case(), a_case(id="b", split="test"), a_case(id="c", split=None)]))
    )
    assert [case.id for case in index.select("test")] == ["b"]
    assert [case.id for case in index.select("validation")] == []
    assert [case.id for case in index.select(None)] == ["a", "b", "c"]
    with pytest.raises(
        DatasetError, match=r"Split 'tests' found, one of train, validation, test expected\. Did you mean 'test'"
    ):
        index.select("tests")


BROKEN = {
    "unknown key": (values(anotators=[]), "Unknown key 'anotators' found. Did you mean 'annotators'"),
    "unknown key without a near one": (values(zzz=1), "Unknown key 'zzz' found. Known keys: name, spatial_dims"),
    "unknown key of a case": (
        values(cases=[a_case(imag=1)]),
        "Unknown key 'imag' found. Did you mean 'image'?.*case 'a'",
    ),
    "missing key": ({k: v for k, v in values().items() if k != "channels"}, "key 'channels' is missing"),
    "missing key of a case": (values(cases=[{"id": "a"}]), "key 'image' is missing. Add it. In case 'a'"),
    "wrong type": (values(spatial_dims=4), "spatial_dims = 4 found"),
    "cases that are no list": (values(cases={"a": 1}), "cases = .* found"),
    "no cases": (values(cases=[]), r"cases = \[\] found"),
    "no image": (values(cases=[a_case(image=[])]), "No image found for case 'a'"),
    "a case twice": (values(cases=[a_case(), a_case()]), "The case 'a' is listed 2 times, once expected"),
    "an annotator twice": (values(annotators=["anna", "anna"]), "The annotator 'anna' is listed 2 times"),
    "a class twice": (
        values(classes=[{"name": "x", "values": [0]}, {"name": "x", "values": [1]}]),
        "The class 'x' is listed 2 times",
    ),
    "an unknown annotator": (
        values(cases=[a_case(annotations={"ana": "x.png"})]),
        "Annotator 'ana' of case 'a' found, one of anna, ben expected. Did you mean 'anna'",
    ),
    "one class": (values(classes=[{"name": "background", "values": [0]}]), "classes = .* found"),
    "a class without values": (
        values(classes=[{"name": "background", "values": []}, {"name": "x", "values": [1]}]),
        "classes.0.values",
    ),
    "a value in two classes": (
        values(
            classes=[{"name": "background", "values": [0]}, {"name": "x", "values": [1]}, {"name": "y", "values": [1]}]
        ),
        "File value 1 found in classes 'x' and 'y', one class per value expected",
    ),
    "no background": (
        values(classes=[{"name": "x", "values": [1]}, {"name": "y", "values": [2]}]),
        "File value 0 found in class None, the first class 'x' expected: class 0 is the background",
    ),
    "a bad split": (
        values(cases=[a_case(split="training")]),
        "Split 'training' found, one of train, validation, test or null expected, for case 'a'. Did you mean 'train'",
    ),
    "an id with a separator": (values(cases=[a_case(id="../a")]), "The case name '../a' found; letters, digits"),
    "an empty id": (values(cases=[a_case(id="")]), "The case name '' found"),
    "another format": (values(format="nnunet"), "Format 'nnunet' version 1 found, 'umanet-dataset' version 1 expected"),
    "another version": (values(version=2), "version 2 found"),
    "a value that is ignored and a class": (
        values(ignore=[1]),
        "File value 1 found in `ignore` and in class",
    ),
    "a class that nobody has": (
        values(annotator_classes={"anna": ["nodlue"]}),
        "Class 'nodlue' found in `annotator_classes` of 'anna'.* Did you mean 'nodule'",
    ),
    "an annotator of no class": (values(annotator_classes={"anna": []}), "No class found in `annotator_classes`"),
    "classes of an unknown annotator": (
        values(annotator_classes={"ana": ["nodule"]}),
        "Annotator 'ana' found in `annotator_classes`.*Did you mean 'anna'",
    ),
    "no object": ([], "A list found, an object with 'umanet-dataset' expected"),
    "no JSON": ("{", "is not valid JSON"),
    "an annotator named twice": (
        '{"cases": [{"id": "a", "annotations": {"anna": "x.png", "anna": "y.png"}}]}',
        "The key 'anna' is named twice",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_index_is_explained_with_the_file(tmp_path, content, message):
    with pytest.raises(DatasetError, match=f"(?s){message}.*dataset.json|dataset.json.*{message}"):
        read_index(written(tmp_path, content))


def test_a_missing_index_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"No data set could be read from .*gone\.json"):
        read_index(tmp_path / "gone.json")


def test_an_index_made_in_python_is_checked_too():
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="x", values=(1,)))
    with pytest.raises(DatasetError, match="Annotator 'carl' of case 'a' found"):
        DatasetIndex(
            spatial_dims=2,
            channels=("grey",),
            classes=classes,
            annotators=("anna",),
            cases=(Case("a", (Path("a.png"),), {"carl": Path("b.png")}),),
        )


def test_an_index_that_cannot_be_written_is_an_output_error(tmp_path):
    index = read_index(written(tmp_path, values()))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_index(index, tmp_path / "file" / "dataset.json")


def test_training_refuses_an_empty_split_and_cases_without_annotation(tmp_path):
    index = read_index(written(tmp_path, values(cases=[a_case(), a_case(id="b", annotations={}, split="test")])))
    assert [case.id for case in require_trainable(index)] == ["a"]
    with pytest.raises(
        DatasetError, match=r"No case in split 'validation' of 'small'.*\(cases per split: train: 1, test: 1\)"
    ):
        require_trainable(index, "validation")
    with pytest.raises(DatasetError, match=r"1 of 1 cases without any annotation found in split 'test' of 'small'"):
        require_trainable(index, "test")


def test_a_code_is_kept_and_its_absence_is_not_written():
    coded = ClassDefinition(name="mass", values=(1,), code="SCT:4147007:Mass")
    assert ClassDefinition.model_validate(coded.model_dump(mode="json")) == coded
    assert "code" not in ClassDefinition(name="mass", values=(1,)).model_dump(mode="json")
    with pytest.raises(ValueError, match="code"):
        ClassDefinition(name="mass", values=(1,), code="Mass")
