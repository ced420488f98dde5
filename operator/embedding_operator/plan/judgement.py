"""Numbers and bounds in, a verdict out: passed or not, and what to do about each bound that is not kept."""

from collections.abc import Iterator

from embedding_serving.contract.reports import AnalysisReport
from embedding_serving.contract.route import Verdict
from embedding_serving.contract.settings import Check

from ..api.rebuild import PrePromotionAnalysis
from ..resources import GROUP

BOUNDS = "spec.rebuild.prePromotionAnalysis"


def checks_of(wanted: PrePromotionAnalysis) -> tuple[Check, ...]:
    """What there is a bound for."""
    bounds = {
        Check.RECALL: wanted.min_recall_percent or None,
        Check.OVERLAP: wanted.min_overlap_percent,
        Check.LATENCY: wanted.max_latency_increase_percent,
        Check.GOLDEN: wanted.golden_queries,
    }
    return tuple(check for check, bound in bounds.items() if bound is not None)


def judge(wanted: PrePromotionAnalysis, report: AnalysisReport, failed_documents: int) -> Verdict:
    """Whether the numbers keep within the bounds. The message says what to do about each that does not."""
    faults = list(_faults(wanted, report, failed_documents))
    if faults:
        message = f"{'; '.join(faults)}; then annotate {GROUP}/retry={report.generation}"
    else:
        message = ", ".join(_numbers(report)) or "there was nothing to measure"
    return Verdict(
        passed=not faults,
        recall=report.recall,
        overlap=report.overlap,
        golden_hit=report.golden_hit,
        latency_increase_percent=report.latency_increase_percent,
        message=message,
    )


def _faults(wanted: PrePromotionAnalysis, report: AnalysisReport, failed_documents: int) -> Iterator[str]:
    checks = checks_of(wanted)
    if failed_documents > wanted.max_failed_documents:
        yield (
            f"{failed_documents} documents could not be embedded, {BOUNDS}.maxFailedDocuments is "
            f"{wanted.max_failed_documents}: mend or delete them (status.rebuild.failedDocuments), or raise the bound"
        )
    measured = {
        Check.RECALL: report.recall,
        Check.OVERLAP: report.overlap,
        Check.LATENCY: report.latency_increase_percent,
    }
    missing = [check.lower() for check, value in measured.items() if check in checks and value is None]
    if missing and report.active_documents:
        yield (
            f"{' and '.join(missing)} could not be measured: generation {report.generation} has {report.documents} documents, "
            f"{report.queries} queries could be made of those of the active one: look at both, or remove the bound"
        )
    if report.recall is not None and _below(report.recall, wanted.min_recall_percent):
        yield (
            f"recall {report.recall:.3f} is below {BOUNDS}.minRecallPercent {wanted.min_recall_percent}: "
            "raise spec.index.targetRecallPercent, or lower the bound"
        )
    if report.overlap is not None and _below(report.overlap, wanted.min_overlap_percent):
        yield (
            f"overlap {report.overlap:.3f} is below {BOUNDS}.minOverlapPercent {wanted.min_overlap_percent}: compare what both "
            "generations find, and lower the bound if the new model's order is as good, or name another model"
        )
    slower, most = report.latency_increase_percent, wanted.max_latency_increase_percent
    if slower is not None and most is not None and slower > most:
        yield (
            f"searches take {slower:.1f}% longer, {BOUNDS}.maxLatencyIncreasePercent is {most}: give the new model or the "
            "shards more CPU, or raise the bound"
        )
    golden = wanted.golden_queries
    if golden and report.golden_hit is not None and _below(report.golden_hit, golden.min_hit_percent):
        missed = f" ({'; '.join(report.golden_missed)})" if report.golden_missed else ""
        yield (
            f"{report.golden_hit:.3f} of the golden queries find what they should{missed}, below "
            f"{BOUNDS}.goldenQueries.minHitPercent {golden.min_hit_percent}: name another model, correct the queries, or lower "
            "the bound"
        )


def _numbers(report: AnalysisReport) -> Iterator[str]:
    if report.recall is not None:
        yield f"recall {report.recall:.3f}"
    if report.overlap is not None:
        yield f"overlap {report.overlap:.3f}"
    if report.latency_increase_percent is not None:
        yield f"latency {report.latency_increase_percent:+.1f}%"
    if report.queries:
        yield f"over {report.queries} queries"
    if report.golden_hit is not None:
        yield f"{report.golden_hit:.3f} of {report.golden_queries} golden queries"


def _below(share: float, percent: int | None) -> bool:
    """Rounded: 0.29 as a float is a little less than 29 percent."""
    return percent is not None and round(100 * share, 6) < percent
