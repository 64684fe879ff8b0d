"""The page of a plan, in a real browser: complete, alone, readable, and with the plan's own numbers."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from attrs import evolve

from adapters.plans.reading import PlanFile
from adapters.plans.report.page import report_html
from adapters.plans.report.timeline_picture import DRAWN, timeline_svg, window_of
from composer.plans.answer import GIB
from composer.plans.execution import Execution
from composer.plans.plan_file import Source, plan_text
from composer.plans.timeline import equal_stages, play
from tests.adapters.plans.browser import Elements, measure, visit
from tests.adapters.plans.plans import (
    INTERLEAVED_EXECUTION,
    PIPELINED_EXECUTION,
    ZERO_EXECUTION,
    estimate,
    plan,
    shipped,
)

ROOT = Path(__file__).parents[3]
SECTIONS = ("model", "memory", "timeline", "time", "alternatives", "rejected", "inputs")
EXECUTIONS = {"pipelined": PIPELINED_EXECUTION, "interleaved": INTERLEAVED_EXECUTION, "zero": ZERO_EXECUTION}
HOSTILE = "<script>alert(1)</script>\"'&amp;"


def page(made, folder):
    path = folder / "report.html"
    path.write_text(report_html(PlanFile(Path("plan.yaml"), "feed", made), shipped(), "1.2.3"), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", EXECUTIONS)
def test_a_browser_finds_nothing_wrong_and_asks_for_nothing(name, tmp_path):
    path = page(plan(EXECUTIONS[name]), tmp_path)
    seen = visit(path, 1280, tmp_path)
    assert seen.console == ()
    assert seen.addresses == ()
    titles = [element.text for element in Elements.of(seen.document).all("h2")]
    assert titles == ["Model", "Memory", "Pipeline", "Step time", "Alternatives", "Rejected", "Inputs"]


def test_the_browser_would_complain(tmp_path):
    """The page with an address in it: its own policy refuses it, and without the policy it would be asked for."""
    path = page(plan(), tmp_path)
    text = path.read_text(encoding="utf-8").replace("<main>", '<main><img src="http://elsewhere.invalid/a.png">')
    path.write_text(text, encoding="utf-8")
    seen = visit(path, 1280, tmp_path)
    assert any("elsewhere.invalid" in line for line in seen.console)
    assert "http://elsewhere.invalid/a.png" not in seen.addresses
    path.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", text), encoding="utf-8")
    assert "http://elsewhere.invalid/a.png" in visit(path, 1280, tmp_path).addresses


@pytest.mark.parametrize("width", [600, 1280])
@pytest.mark.parametrize("name", EXECUTIONS)
def test_it_fits_the_window(name, width, tmp_path):
    found = measure(page(plan(EXECUTIONS[name]), tmp_path), width, tmp_path)
    assert found["width"] == width
    assert found["scroll"] == width
    assert found["wide"] == []
    assert [section for section, _ in found["sections"]] == list(SECTIONS)
    assert all(length > 40 for _, length in found["sections"])
    assert (found["boxes"] == []) == (name == "zero")
    assert all(box > 0.5 for box in found["boxes"])


def test_names_that_never_end_do_not_widen_it(tmp_path):
    made = plan(model=Source("s" * 300, plan().model.hash, hf="h" * 300, set=("o" * 300,)), binding="b" * 300)
    made = evolve(made, hardware=evolve(made.hardware, name="H" * 200))
    found = measure(page(made, tmp_path), 600, tmp_path)
    assert (found["scroll"], found["wide"]) == (600, [])


def test_colours_follow_the_reader(tmp_path):
    path = page(plan(), tmp_path)
    text = re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text(encoding="utf-8"))
    script = "<script>document.title = getComputedStyle(document.body).backgroundColor</script></body>"
    path.write_text(text.replace("</body>", script), encoding="utf-8")
    colours = [
        Elements.of(visit(path, 800, tmp_path, f"--blink-settings=preferredColorScheme={scheme}").document)
        .all("title")[0]
        .text
        for scheme in (1, 0)
    ]
    assert colours == ["rgb(251, 251, 250)", "rgb(20, 24, 29)"]


def test_it_holds_no_address_and_no_script():
    text = report_html(PlanFile(Path("plan.yaml"), "feed", plan()), shipped(), "1.2.3")
    assert set(re.findall(r"\w+://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}  # the name of SVG, no address
    assert not re.search(r"<script|@import|url\((?!#)|\bsrc=|<iframe|<object|<embed", text)


def numbers(made):
    return Elements.of(report_html(PlanFile(Path("plan.yaml"), "feed", made), shipped(), "1.2.3"))


@pytest.mark.parametrize("name", EXECUTIONS)
def test_numbers_are_the_plans(name):
    made = plan(EXECUTIONS[name])
    elements, chosen = numbers(made), made.estimate
    exact = [float(cell.attributes["data-value"]) for cell in elements.all("td") if "data-value" in cell.attributes]
    memory = sorted(chosen.memory, key=lambda rank: rank.pipeline_rank)
    shown = ("weights", "gradients", "optimizer", "activations", "towers", "masks", "logits", "transient")
    wanted = [value for node in made.nodes for value in (node.parameters, node.trained)]
    for component in (*shown, "communication", "reserve"):
        wanted += [getattr(rank.memory, component) for rank in memory]
    wanted += [rank.memory.total for rank in memory]
    wanted += [time.likely for time in chosen.time.nodes.values()]
    wanted += [
        time.likely
        for component in (
            "attention",
            "tensor_parallel",
            "expert_parallel",
            "context_parallel",
            "pipeline",
            "data_parallel",
            "optimizer",
            "host",
        )
        if (time := getattr(chosen.time, component)).high > 0
    ]
    wanted += [chosen.time.total.likely]
    wanted += [each.time.total.likely for each in (chosen, *made.alternatives)]
    assert exact == pytest.approx(wanted)
    (step,) = elements.all("dd", id="step-time")
    assert step.text == f"{chosen.time.total.likely:.2f}\u202fs"
    (fullest,) = elements.all("dd", id="fullest")
    assert fullest.text == f"{max(rank.memory.total for rank in memory) / GIB:.1f} GiB"
    (mfu,) = elements.all("dd", id="mfu")
    assert mfu.text == f"{chosen.mfu.likely * 100:.1f}%"


def test_bars_are_as_long_as_bytes():
    made = plan()
    bars = re.findall(r'<span class="(\w+)" style="width:([\d.]+)%"', report(made))
    limit = float(re.search(r'class="limit" style="left:([\d.]+)%"', report(made))[1])
    per_byte = limit / (made.hardware.memory_gib * GIB)
    first = [(name, float(width)) for name, width in bars[:10]]
    assert first == [
        (name, pytest.approx(getattr(made.estimate.memory[0].memory, name) * per_byte, abs=0.001)) for name, _ in first
    ]
    over = plan(estimate=estimate(PIPELINED_EXECUTION, 2.0))
    assert float(re.search(r'class="limit" style="left:([\d.]+)%"', report(over))[1]) < 100


def report(made):
    return report_html(PlanFile(Path("plan.yaml"), "feed", made), shipped(), "1.2.3")


def test_every_node_says_whether_it_trains():
    (graph,) = re.findall(r'<div class="scroll graph">(.*?)</div>', report(plan()), flags=re.DOTALL)
    words = [text.text for text in ElementTree.fromstring(graph).iter("{http://www.w3.org/2000/svg}text")]
    assert (words.count("frozen"), words.count("trained")) == (1, 2)
    assert "does not say what trains" in report(plan(nodes=()))


def test_names_are_text_and_never_markup():
    hostile = plan(
        model=Source(HOSTILE, plan().model.hash, hf=HOSTILE, set=(HOSTILE,)),
        binding=HOSTILE,
        space={HOSTILE: 1},
        notes=(HOSTILE,),
    )
    hostile = evolve(
        hostile,
        hardware=evolve(hostile.hardware, name=HOSTILE, sources=(HOSTILE,)),
        rejected=(evolve(hostile.rejected[0], reason=HOSTILE),),
        nodes=(evolve(hostile.nodes[0], node=HOSTILE),),
    )
    text = report_html(PlanFile(Path(HOSTILE.replace("/", "")), HOSTILE, hostile), shipped(), HOSTILE)
    assert "<script" not in text
    assert Elements.of(text).all("p", class_="why")[0].text.endswith(HOSTILE)


def test_a_plan_without_times_of_stages_says_so():
    assert "no times of single stages" in report(plan(stages=()))
    assert "no times of single stages" not in report(plan())
    assert "One pipeline rank" in report(plan(Execution(8)))


@pytest.mark.parametrize(("ranks", "virtuals", "micro_batches"), [(4, 1, 8), (4, 1, 200), (2, 5, 16), (8, 4, 64)])
def test_the_picture_shows_all_bubbles_and_no_more_boxes_than_it_must(ranks, virtuals, micro_batches):
    timeline = play(equal_stages(ranks, virtuals), micro_batches)
    window = window_of(timeline)
    assert (window.ends is None) == (micro_batches * virtuals <= DRAWN)
    picture = ElementTree.fromstring(timeline_svg(timeline, timed=True))
    boxes = list(picture.iter("{http://www.w3.org/2000/svg}rect"))
    work = [box for box in boxes if box.get("class") != "idle"]
    for box in boxes:
        left, width = (float(box.get(name).removesuffix("%")) for name in ("x", "width"))
        assert left >= 0
        assert width > 0
        assert left + width <= 100.001
    if window.ends is None:
        assert len(work) == 2 * ranks * micro_batches
    else:
        # What is left out is the steady part: every rank works all through it.
        for spans in timeline.ranks:
            middle = [span for span in spans if span.end > window.ends and span.start < window.total - window.ends]
            busy = sum(min(span.end, window.total - window.ends) - max(span.start, window.ends) for span in middle)
            assert busy == pytest.approx(window.total - 2 * window.ends)
        assert len(work) < 2 * ranks * micro_batches * virtuals


def test_the_command(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text(plan()), encoding="utf-8")
    command = [sys.executable, "-m", "adapters.cli", "plan", "report", str(path)]
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'plan.html'}\n"), done.stderr
    assert "<h2>Memory</h2>" in (tmp_path / "plan.html").read_text(encoding="utf-8")
    imported = set(re.findall(r"\| +([\w]+)$", done.stderr, flags=re.MULTILINE))
    assert "jinja2" in imported
    assert not imported & {"torch", "transformers", "megatron", "numpy", "matplotlib"}
    path.write_text(plan_text(evolve(plan(), model=Source("gemma4_vl", "0" * 16))), encoding="utf-8")
    refused = subprocess.run(
        command, env=environment | {"PYTHONPROFILEIMPORTTIME": ""}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "was made for a model 0000000000000000" in refused.stderr
