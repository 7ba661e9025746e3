from pathlib import Path

import pytest

from pipeline.guest import machine
from pipeline.guest.machine import MachineError

PROFILES = Path(__file__).parents[2] / "qemu"
GOOD = 'id = "m"\ncpu = "max"\nhardware_dbm = true\n'


@pytest.mark.parametrize("name", machine.names(PROFILES))
def test_the_shipped_profiles_load(name):
    assert machine.load(PROFILES, name).id == name


def test_the_shipped_profiles_cover_hardware_and_software_dirty_state():
    assert machine.load(PROFILES, "max").hardware_dbm
    assert not machine.load(PROFILES, "a57").hardware_dbm


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "smp = 9\n", "m.toml:4: smp: Input should be less than or equal to 8, found 9"),
        (GOOD + "\n# a comment\nmemory = 1\n", "m.toml:6: memory: unknown key, found 1"),
        ('id = "m"\ncpu = "max"\n', "m.toml:1: hardware_dbm: required key is missing"),
        (GOOD + 'granule = "8k"\n', "m.toml:4: granule: Input should be '4k', '16k' or '64k', found '8k'"),
        (GOOD.replace('"max"', '"max -smp 4"'), "m.toml:2: cpu: String should match pattern"),
        (GOOD.replace('"m"', '"n"'), "m.toml:1: id: expected 'm', as the file is named, found 'n'"),
        ("id = ", "m.toml: not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path, text, message):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(MachineError) as told:
        machine.load(tmp_path, "m")
    assert f"{tmp_path}/{message}" in told.value.message


def test_an_unknown_machine_is_told_with_those_there_are():
    with pytest.raises(MachineError, match="machine 'z80'") as told:
        machine.load(PROFILES, "z80")
    assert "a57" in told.value.hint and "max" in told.value.hint


def test_page_size_follows_the_granule(tmp_path):
    (tmp_path / "m.toml").write_text(GOOD + 'granule = "64k"\n')
    assert machine.load(tmp_path, "m").page_size == 65536


def test_the_machines_with_a_model_are_those_without_but_for_the_model():
    for name in ("max", "a57"):
        plain, watched = machine.load(PROFILES, name), machine.load(PROFILES, f"{name}-tlb")
        assert plain.tlb is None and watched.tlb is not None
        assert watched.model_dump(exclude={"id", "title", "tlb"}) == plain.model_dump(exclude={"id", "title"})


def test_a_machine_without_a_model_is_recorded_as_if_there_were_none():
    """Its dump is part of the key of every cell that ran on it."""
    assert "tlb" not in machine.load(PROFILES, "max").model_dump(mode="json")
    assert machine.load(PROFILES, "a57-tlb").model_dump(mode="json")["tlb"] == {"core": "a57", "bbm": 0}


def test_a_profile_says_only_what_differs_from_another(tmp_path):
    (tmp_path / "m.toml").write_text(GOOD + "smp = 4\n")
    (tmp_path / "n.toml").write_text('extends = "m"\nid = "n"\n\n[tlb]\ncore = "48+1280/5"\n')
    found = machine.load(tmp_path, "n")
    assert (found.cpu, found.smp, found.tlb) == ("max", 4, machine.Tlb(core="48+1280/5"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id = "n"\nextends = "z80"\n', "n.toml:2: extends: expected the id of another machine, found 'z80'"),
        ('extends = "n"\nid = "n"\n', "n.toml:1: extends: expected the id of another machine, found 'n'"),
        ('extends = "o"\nid = "n"\n', "n.toml:1: extends: o extends another machine itself"),
        ('extends = "m"\nid = "n"\n\n[tlb]\ncore = "A 76"\n', "n.toml:5: tlb.core: String should match pattern"),
        ('extends = "m"\nid = "n"\n\n[tlb]\ncore = "a76"\nbbm = 3\n', "n.toml:6: tlb.bbm: Input should be less"),
        (
            'extends = "m"\nid = "n"\nthread = "single"\n\n[tlb]\ncore = "a76"\n',
            'machine: a TLB model of several CPUs needs thread = "multi"',
        ),
    ],
)
def test_a_mistake_in_what_differs_is_told_too(tmp_path, text, message):
    (tmp_path / "m.toml").write_text(GOOD)
    (tmp_path / "o.toml").write_text('extends = "m"\nid = "o"\n')
    (tmp_path / "n.toml").write_text(text)
    with pytest.raises(MachineError) as told:
        machine.load(tmp_path, "n")
    assert message in told.value.message
