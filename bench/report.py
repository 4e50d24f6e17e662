"""Writes the tables of docs/performance.md, between its <!-- name --> marks, and its plots, from the JSON files
that scripts/bench.sh left in a folder. A table whose measurements are missing says so."""

import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of the backend)

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/performance"

KINDS = {"dense": "dense", "bank": "fused, memory bank", "bank_bf16_moments": "fused, memory bank, moments in bf16",
         "learned": "fused, learned", "static": "fused, static",
         "moe1": "sparse MoE, top-1", "moe2": "sparse MoE, top-2"}
MODELS = {"gpt": "GPT", "gpt2": "GPT-2 124M", "vit": "ViT"}
STYLES = {"bank": ("#0072b2", "o"), "moe1": ("#e69f00", "s"), "moe2": ("#d55e00", "^")}


class Results:
    """The measurements in a folder of JSON files."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def load(self, name):
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def runs(self, name):
        """Google Benchmark's runs, without those that failed; each with the parts of its name."""
        runs = [run for run in (self.load(name) or {"benchmarks": []})["benchmarks"] if "percent" in run or "ms" in run]
        for run in runs:
            parts = run["name"].split("/")
            run["words"] = [part for part in parts if ":" not in part and part != "manual_time"]
            run.update({key: int(value) for key, value in (part.split(":") for part in parts if ":" in part)})
        return runs

    def steps(self, *names):
        """Runs of bench_step, without repeated cases."""
        runs = {}
        for run in (run for name in names for run in self.runs(name)):
            run["model"], run["ffn"], run["precision"] = run["words"]
            runs.setdefault(run["name"].split("/iterations")[0], run)
        return list(runs.values())


def table(headings, rows):
    """Markdown, columns of numbers to the right."""
    if not rows:
        return "Not measured."
    columns = list(zip(*rows))
    is_number = [all(str(cell)[:1].isdigit() or cell in ("", "-") for cell in column) for column in columns]
    lines = ["| " + " | ".join(headings) + " |", "|" + "".join("--:|" if number else "---|" for number in is_number)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def environment(results):
    e = results.load("environment")
    kernels = results.runs("kernels")
    peak = statistics.median(run["peak"] for run in kernels if run["words"][0] == "gemm")
    read = statistics.median(run["read"] for run in kernels if "read" in run)
    update = statistics.median(run["update"] for run in kernels if "update" in run)
    has_bf16 = {"avx512_bf16", "amx_bf16"} & set(e["features"])
    bf16 = [run["peak"] for run in kernels if run["words"][0] == "gemm_bf16"]
    bf16_peak = [["bf16 peak", f"{statistics.median(bf16):.0f} GFLOP/s"]] if has_bf16 else []
    return table(["", ""], [
        ["processor", f"{e['cpu']}, {e['cpus']} cores ({', '.join(e['features'])})"],
        ["memory", f"{e['memory_GB']:.0f} GB"],
        ["compiler", e["compiler"]],
        ["system", e["system"]],
        ["date", e["date"]],
        ["command", f"`{e['command']}`" + (": no figures to quote" if e["quick"] else "")],
        ["fp32 peak", f"{peak:.0f} GFLOP/s"],
        *bf16_peak,
        ["memory bandwidth", f"{read:.1f} GB/s read, {update:.1f} GB/s read and written back"],
    ])


def gemm(results):
    """A table for operands of each precision; of fp32 also of the library's own product beside oneDNN's."""
    forms = {"forward": "X W^T", "input_gradient": "dY W", "weight_gradient": "dY^T X"}
    headings = [name + ", %" for name in forms.values()]
    tables = []
    measured = {run["words"][0] for run in results.runs("kernels")}
    families = [("gemm", "fp32"), ("gemm_bf16", "bf16")]
    if "gemm_own" in measured:
        families[:1] = [("gemm", "fp32 by oneDNN"), ("gemm_own", "fp32 by the own kernel")]
    for family, precision in families:
        percents = {}
        for run in (run for run in results.runs("kernels") if run["words"][0] == family):
            percents.setdefault((run["tokens"], run["out"], run["in"]), {})[run["words"][1]] = run["percent"]
        rows = [[" x ".join(map(str, shape)), *(f"{row[form]:.1f}" for form in forms)]
                for shape, row in percents.items()]
        if rows:
            mean = statistics.mean(percent for row in percents.values() for percent in row.values())
            rows.append(["mean of all", f"{mean:.1f}", "", ""])
        tables.append(table([f"{precision}: tokens x out x in", *headings], rows))
    return "\n\n".join(tables)


def products(results):
    rows = []
    for run in results.runs("kernels"):
        if run["words"][0] in ("attention", "attention_bf16", "linear_cross_entropy"):
            rows.append([" ".join(run["words"]).replace("_", " "), run["tokens"], f"{run['real_time']:.1f}",
                         f"{run['GFLOP/s']:.0f}", f"{run['percent']:.1f}"])
    return table(["kernel", "tokens", "ms", "GFLOP/s", "% of the precision's peak"], rows)


def streams(results):
    rows = []
    for run in (run for run in results.runs("kernels") if "GB/s" in run):
        sizes = ", ".join(f"{key} {run[key]}" for key in ("experts", "classes", "rows", "columns") if key in run)
        rows.append([" ".join(run["words"]).replace("_", " "), sizes, f"{run['real_time']:.2f}", f"{run['GB/s']:.1f}",
                     f"{run['percent']:.0f}"])
    return table(["kernel", "size", "ms", "GB/s", "% of bandwidth"], rows)


def dense(results):
    return table(["model", "precision", "tokens a step", "ms", "tokens/s", "GFLOP a step", "MFU, %",
                  "peak RSS, MB"],
                 [[MODELS[run["model"]], run["precision"], int(run["tokens"]), f"{run['ms']:.0f}",
                   f"{run['tokens/s']:.0f}", f"{run['GFLOP']:.0f}", f"{run['MFU']:.1f}", f"{run['peak_RSS_MB']:.0f}"]
                  for run in results.steps("dense")])


def streaming_ms(run, kernels):
    """Milliseconds that memory takes to form dL/da of E experts, and to update them with AdamW and fuse them."""
    read = statistics.median(k["read"] for k in kernels if "read" in k)
    update = statistics.median(k["update"] for k in kernels if "update" in k)
    numbers = run["experts"] * run["layers"] * 8 * run["d_model"] ** 2
    return 1e3 * numbers * (4 / read + 24 / update) / 1e9


def experts(results):
    kernels = results.runs("kernels")
    rows = []
    for run in results.steps("one", "experts", "rules"):
        streaming = f"{streaming_ms(run, kernels):.0f}" if run["ffn"] in ("bank", "learned") else "-"
        rows.append([KINDS[run["ffn"]], run["experts"], f"{run['ratio']:.3f}", f"{run['ms']:.0f}",
                     f"{(run['ratio'] - 1) * run['reference_ms']:.0f}", streaming, f"{run['peak_RSS_MB']:.0f}"])
    return table(["feed-forward network", "experts", "ratio to dense", "ms", "ms more than dense",
                  "ms of memory traffic", "peak RSS, MB"], rows)


def ratios(runs):
    return table(["model", "feed-forward network", "experts", "tokens a step", "ratio to dense", "ms", "dense, ms",
                  "peak RSS, MB"],
                 [[MODELS[run["model"]], KINDS[run["ffn"]], run["experts"], int(run["tokens"]), f"{run['ratio']:.3f}",
                   f"{run['ms']:.0f}", f"{run['reference_ms']:.0f}", f"{run['peak_RSS_MB']:.0f}"] for run in runs])


def tokens(results):
    """Eight experts in the GPT."""
    return sorted((run for run in results.steps("tokens", "experts") if run["experts"] == 8),
                  key=lambda run: (list(KINDS).index(run["ffn"]), run["tokens"]))


def sizes(results):
    wide = results.steps("size_128", "tokens", "size_512", "size_768")
    return [run for run in wide if run["tokens"] == 1024]


def size_table(results):
    return table(["layers", "width", "feed-forward network", "ratio to dense", "ms", "dense, ms"],
                 [[run["layers"], run["d_model"], KINDS[run["ffn"]], f"{run['ratio']:.3f}", f"{run['ms']:.0f}",
                   f"{run['reference_ms']:.0f}"] for run in sizes(results)])


def scaling(results):
    runs = results.runs("scaling")
    rows = []
    for name, run in zip(("layers", "batch", "d_model"), runs):
        rows.append([name, f"{run['reference_ms']:.0f}", f"{run['ms']:.0f}", f"{run['ratio']:.2f}",
                     f"{run['FLOP_ratio']:.2f}", f"{100 * (run['ratio'] / run['FLOP_ratio'] - 1):+.1f} %"])
    return table(["doubled", "ms", "doubled, ms", "ratio", "ratio of operations", "difference"], rows)


def peers(results):
    rows = []
    for row in (results.load("peers") or {"rows": []})["rows"]:
        rows.append([MODELS[row["model"]], row["precision"], row["program"], f"{row['ms']:.0f}", f"{row['ratio']:.2f}",
                     f"{row['peak_RSS_MB']:.0f}"])
    return table(["model", "precision", "program", "ms a step", "times ExFusion dense", "peak RSS, MB"], rows)


def compile_times(results):
    seconds = results.load("environment")["compile_seconds"]
    return table(["compiled", "seconds"], [
        ["`#include <exfusion/exfusion.hpp>`, kernels compiled elsewhere", f"{seconds['umbrella_compiled']:.1f}"],
        ["`examples/minimal.cpp`, a whole trainer, header-only", f"{seconds['minimal_header_only']:.1f}"]])


TABLES = {
    "environment": environment, "gemm": gemm, "products": products, "streams": streams, "dense": dense,
    "experts": experts, "tokens": lambda results: ratios(tokens(results)),
    "models": lambda results: ratios(results.steps("models")), "sizes": size_table, "scaling": scaling,
    "peers": peers, "compile": compile_times,
}


def write_tables(results):
    text = DOCUMENT.read_text()
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + make(results) + "\n" + end + rest.split(end, 1)[1]
    DOCUMENT.write_text(text)


def plot(name, runs, x, label, log):
    """Ratio to the dense step against run[x], a line for each kind of network."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    ticks = sorted({x(run) for run in runs})
    for kind, (color, marker) in STYLES.items():
        points = sorted((x(run), run["ratio"]) for run in runs if run["ffn"] == kind)
        axes.plot(*zip(*points), color=color, marker=marker, label=KINDS[kind])
    axes.axhline(1, color="#555555", linestyle="--", linewidth=1, label="dense")
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel=label, ylabel="step time / dense step time", ylim=(0, 1.08 * max(run["ratio"] for run in runs)))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def write_plots(results):
    PLOTS.mkdir(exist_ok=True)
    matplotlib.rcParams.update({"svg.hashsalt": "exfusion", "font.size": 9})
    plot("experts", results.steps("one", "experts"), lambda run: run["experts"], "experts", True)
    plot("tokens", tokens(results), lambda run: run["tokens"], "tokens a step", True)
    million = lambda run: round(12 * run["layers"] * run["d_model"] ** 2 / 1e6, 1)  # noqa: E731
    plot("size", sizes(results), million, "millions of parameters in the dense model's blocks", True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    results = Results(parser.parse_args().folder)
    write_tables(results)
    write_plots(results)


if __name__ == "__main__":
    main()
