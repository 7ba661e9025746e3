"""Runs to report: a small one, and one of the size and variety of a real study."""

from pipeline.contpte.tables import Tables
from pipeline.judge.model import BuildFact
from pipeline.observation import Boot, Cell, Check, Need, Outcome, Pages, Step
from pipeline.run import HostFact, KernelFact, PatchFact, Run, StudyFact
from pipeline.study import Study
from tests.judge.builders import a_study, all_boots, all_cells
from tests.report.tables import folio, tables

VARIANTS = ("16k", "32k", "64k", "128k")
SCENARIOS = ("full", "twice", "reread", "partial", "unaligned", "hole", "fork", "zram-cow", "rewrite", "gup")


def a_run(study: Study | None = None, /, **changes: object) -> Run:
    """A judged run of the judge's builders; every cell passes unless ``cells`` says otherwise."""
    study = study or a_study()
    data: dict[str, object] = {
        "id": "20260101-000000-demo",
        "kpv": "0.1.0",
        "started": "2026-01-01T00:00:00Z",
        "command": ("kpv", "validate", "study.toml"),
        "study": StudyFact(file="study.toml", sha256="5" * 64, content=study),
        "host": HostFact(qemu="QEMU emulator version 10.0.2", gcc="gcc 12.2", os="Debian 12"),
        "kernels": tuple(a_kernel(kernel.id, kernel.role) for kernel in study.kernel),
        "machines": {"max": {"id": "max", "cpu": "max", "smp": 2, "hardware_dbm": True, "append": []}},
        "boots": all_boots(study),
        "cells": all_cells(study),
    }
    return Run.model_validate(data | changes).judged()


def a_kernel(name: str, role: str, **changes: object) -> KernelFact:
    patch = PatchFact(file=f"{name}/0001-mm-madvise.patch", subject="mm/madvise: keep large folios", sha256="7" * 64)
    data = {
        "id": name,
        "role": role,
        "source": "debian:linux-source-6.12",
        "version": "6.12.117",
        "series": (patch,),
        "fragments": ("base", "mm"),
        "config_sha256": "1" * 64,
        "image_sha256": "2" * 64,
        "build_id": "3" * 40,
        "toolchain": "aarch64-linux-gnu-gcc 12.2.0",
        "build": BuildFact(ok=True),
    }
    return KernelFact.model_validate(data | changes)


#: What every scenario decides, and what two of them decide besides.
COMMON_CHECKS = ("no-lost-write", "data-old-or-zero")
CHECKS = {"hole": (*COMMON_CHECKS, "no-neighbour-skipped"), "zram-cow": (*COMMON_CHECKS, "sharer-keeps-data")}


def a_realistic_run(*, scenarios: tuple[str, ...] = SCENARIOS, variants: tuple[str, ...] = VARIANTS) -> Run:
    """3 kernels x 2 machines x 40 cells by default: v2 splits nothing but loses a write, and leaves a neighbour out."""
    study = Study.model_validate(
        {
            "schema": 1,
            "id": "madvise-free-mthp",
            "title": "MADV_FREE keeps fully covered large folios whole (mTHP, cont-PTE)",
            "links": ["20240307061425.21013-1-ioworker0@gmail.com"],
            "source": {"tree": "debian:linux-source-6.12"},
            "fragments": ["base", "mm", "contpte-4k", "debug", "trace"],
            "machines": ["max", "a57"],
            "kernel": [
                {"id": "baseline", "role": "baseline", "title": "Every large folio is split, as before the series"},
                {
                    "id": "v2",
                    "title": "[PATCH v2] mm/madvise: enhance lazyfreeing with mTHP in madvise_free",
                    "expect": {"verdict": "FAIL", "failing": ["no-neighbour-skipped", "no-convert"]},
                },
                {"id": "merged", "title": "The form that was merged (v10)"},
            ],
            "scenario": [
                {
                    "id": name,
                    "title": f"MADV_FREE: {name.replace('-', ' ')}",
                    "program": "madv_free",
                    "fixture": "mthp",
                    "variants": variants,
                    "properties": ["P1"],
                    "checks": CHECKS.get(name, COMMON_CHECKS),
                }
                for name in scenarios
            ],
            "invariant": [
                {
                    "id": "no-lost-write",
                    "title": "A write ordered after MADV_FREE survives reclaim",
                },
                {
                    "id": "data-old-or-zero",
                    "title": "A page reads its old data or zero, never a mix",
                },
                {
                    "id": "no-neighbour-skipped",
                    "title": "Folios after a skipped one are freed",
                },
                {"id": "sharer-keeps-data", "title": "Another process's data survives"},
            ],
            "claim": [
                {
                    "id": "no-split",
                    "title": "A fully covered, exclusive folio is not split",
                    "scenarios": ["full.*", "twice.*"],
                    "step": "free",
                    "candidate": "mthp.split == 0 and vmstat.pglazyfree == param.pages",
                    "baseline": "mthp.split == param.folios",
                },
                {
                    "id": "no-convert",
                    "title": "A contiguous block is neither unfolded nor folded again",
                    "scenarios": [f"full.{variant}" for variant in variants if variant in ("64k", "128k")],
                    "step": "free",
                    "candidate": "probe.contpte_convert == 0",
                    "baseline": "probe.contpte_convert > 0",
                    "kind": "structure",
                },
            ],
            "known": [
                {
                    "id": "zram-swapin-clean",
                    "of": "sharer-keeps-data",
                    "scenarios": ["zram-cow.*"],
                    "explanation": "Swap-in from zram skips the swap cache, so the PTE is clean, the slot is gone "
                    "and the mapcount is never looked at: the child reads zeros after MADV_FREE and reclaim.",
                },
                {
                    "id": "gup-cancel",
                    "of": "no-lost-write",
                    "scenarios": ["gup.*"],
                    "kernels": ["merged"],
                    "explanation": "A pinned folio was discarded once.",
                },
            ],
            "limits": ["The order of TLB maintenance and page-table stores is not observed in this study."],
        }
    )
    cells = [
        _cell(kernel.id, machine, name, variant)
        for kernel in study.kernel
        for machine in study.machines
        for name in scenarios
        for variant in variants
    ]
    needs = [Need(what=what, ok=True, want="x", got="x") for what in ("build_id", "page_size", "config", "swap")]
    boots = [
        Boot(
            id=f"{kernel.id}-{machine}",
            kernel=kernel.id,
            machine=machine,
            qemu=[
                "qemu-system-aarch64",
                "-machine",
                "virt,gic-version=3",
                "-cpu",
                machine,
                "-append",
                "quiet panic=-1",
            ],
            seconds_to_ssh=1.2,
            end="poweroff",
            needs=needs,
            probes={"contpte_convert": "", "gone": "no such symbol"},
        )
        for kernel in study.kernel
        for machine in study.machines
    ]
    kernels = [a_kernel(kernel.id, kernel.role, title=kernel.title) for kernel in study.kernel]
    return a_run(
        study,
        cells=cells,
        boots=boots,
        kernels=kernels,
        command=("kpv", "validate", "patches/madvise-free-mthp"),
        study=StudyFact(file="patches/madvise-free-mthp/study.toml", sha256="5" * 64, content=study),
    )


def _cell(kernel: str, machine: str, scenario: str, variant: str) -> Cell:
    per_folio = int(variant[:-1]) // 4
    pages = 4 * per_folio
    base = kernel == "baseline"
    contpte = per_folio >= 16
    convert = (8 if contpte else 0) * (0 if kernel == "merged" else 2 if base else 1)
    checks = [Check(name="no-lost-write", ok=True)] * 3 + [Check(name="data-old-or-zero", ok=True)]
    outcome, reason = Outcome.PASSED, ""
    if scenario == "hole":
        broken = kernel == "v2" and per_folio >= 16
        detail = "folio 3 at 0x7f0000030000 was skipped: 16 of 16 pages are not lazyfree" if broken else ""
        checks.append(Check(name="no-neighbour-skipped", ok=not broken, detail=detail))
        outcome = Outcome.FAILED if broken else outcome
    if scenario == "zram-cow":
        checks.append(
            Check(name="sharer-keeps-data", ok=False, detail=f"child reads zeros in {pages} of {pages} pages")
        )
        outcome = Outcome.FAILED
    name = f"{scenario}.{variant}"
    ktap = f"TAP version 13\n1..1\n#  RUN           mthp.{variant}.{scenario} ...\n" + "".join(
        f'# kpv {{"rec": "check", "name": "{check.name}", "ok": {str(check.ok).lower()}}}\n' for check in checks
    )
    steps = [
        Step(name="populate", vmstat=_vmstat(pgfault=4), mthp={"split": 0, "anon_fault_alloc": 4}),
        Step(
            name="free",
            vmstat=_vmstat(pglazyfree=pages),
            mthp={"split": 4 if base else 0, "split_deferred": 4 if base else 0},
            probe={"contpte_convert": convert, "folio_mark_lazyfree": pages if base else 4, "gone": None},
            smaps={"LazyFree": pages * 4, "Private_Dirty": 0},
        ),
        Step(
            name="reclaim", ret=-1, errno=11, vmstat=_vmstat(pglazyfreed=pages, pgsteal_anon=pages), mthp={"split": 0}
        ),
    ]
    small = "l" if base else "L"
    return Cell(
        kernel=kernel,
        machine=machine,
        scenario=scenario,
        variant=variant,
        outcome=outcome,
        reason=reason,
        seconds=0.014,
        params={"folios": 4, "pages": pages, "pages_per_folio": per_folio, "order": per_folio.bit_length() - 1},
        needs=[Need(what="folio_order", ok=True, want="4", got="4")],
        steps=steps,
        pages=[
            Pages(at="before-free", region="range", states="A" * pages),
            Pages(at="after-free", region="range", states=small * pages),
            Pages(at="after-rewrite", region="range", states=small * (pages - 3) + "Da" + small),
            Pages(at="after-reclaim", region="range", states="." * (pages - 3) + "Aa."),
        ],
        tables=_tables(kernel, per_folio),
        checks=checks,
        ktap=ktap + f"{'ok' if outcome == Outcome.PASSED else 'not ok'} 1 mthp.{variant}.{scenario}\n",
        console=f"[   12.{pages:06}] kpv: begin {name}\n[   12.9] kpv: end {name}\n",
        trace="\n".join(f" madv_free-{n} [000] 12.{n:06}: rss_stat: mm_id=1 size={n}B" for n in range(90)),
        boot=f"{kernel}-{machine}",
    )


def _tables(kernel: str, per_folio: int) -> list[Tables]:
    """Four folios, folded where they are as large as a block; split by the baseline, kept folded by the others."""
    first = {"baseline": 0x42000, "v2": 0x48000, "merged": 0x50000}[kernel]
    folded = "c" if per_folio >= 16 else ""
    kept = "" if kernel == "baseline" else folded
    before = [one for at in range(4) for one in folio(first + at * 64, per_folio, f"{folded}ydw")]
    after = [one for at in range(4) for one in folio(first + at * 64, per_folio, f"{kept}w")]
    return [tables(before), tables(after, when="step-end"), tables(after, at="reclaim")]


def _vmstat(**counters: int) -> dict[str, int | None]:
    quiet = ("pgdeactivate", "pgactivate", "pswpin", "pswpout", "thp_split_page", "pgmajfault", "pgsteal_anon")
    return dict.fromkeys(quiet, 0) | counters | {"pgfault": counters.get("pgfault", 7)}
