"""Which alerts fire within ten minutes of each recorded condition: its own, and none of another. As record.py has scraped a real node.

  python3 tests/conditions/alerts.py PROMTOOL
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "conf" / "prometheus" / "alerts.yml"
SCRAPE_S = 30
# What the alerts of a condition are called behind `Tidegate`. Some conditions have several: their cause, and what they entail.
FIRING = {
    "idle": [],
    "slow-disk": ["DiskSlow"],
    "slow-disk-large-instances": ["AcknowledgementsBurnFast", "DiskSlow"],
    "slow-senders": ["SendersSlow"],
    "refusing": ["AcknowledgementsBurnFast", "DiskAtReserve", "NotReady", "OutOfResources"],
    "memory-pressure": ["MemoryPressure", "NotReady"],
    "leak": ["MemoryGrows"],
    "budget-exhausted": ["BudgetSpent"],
    "too-few-writers": ["TooFewWriters"],
    "cpu-starved": ["CpuStarved", "Stalled"],
    # The node gives up after so many hung threads, and nobody starts it again.
    "disk-hung": ["AcknowledgementsBurnFast", "DiskHung", "Down", "PartsRestarted"],
}


def case(condition: str) -> str:
    """A case for promtool."""
    text = f"  - name: {condition}\n    interval: {SCRAPE_S}s\n    input_series:\n"
    for line in (HERE / f"{condition}.series").read_text().splitlines():
        series, samples = line.split(" ", 1)
        name, _, labels = series.partition("{")
        own = 'job="tidegate",instance="a"'
        text += f"      - {{series: '{name}{{{own},{labels or '}'}', values: '{samples}'}}\n"
    text += """    promql_expr_test:
      - expr: 'group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[10m]))'
        eval_time: 10m
        exp_samples:
"""
    return text + "".join(f"          - {{labels: '{{alertname=\"Tidegate{alert}\"}}', value: 1}}\n" for alert in FIRING[condition])


def main() -> None:
    recorded = {path.stem for path in HERE.glob("*.series")}
    assert recorded == set(FIRING), f"recorded, or expected, and not both: {recorded ^ set(FIRING)}"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as cases:
        cases.write(f"rule_files: [{RULES}]\nevaluation_interval: 15s\ntests:\n" + "".join(map(case, FIRING)))
        cases.flush()
        sys.exit(subprocess.run([sys.argv[1], "test", "rules", cases.name]).returncode)


if __name__ == "__main__":
    main()
