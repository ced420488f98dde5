"""Memory and utilisation of the GPUs, read from the driver when somebody scrapes."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """torch: the module, already imported by the engine that runs on the GPU."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def collect(self) -> Iterable[GaugeMetricFamily]:
        used = GaugeMetricFamily("embedding_gpu_memory_used_bytes", "Memory in use on the GPU", labels=["gpu"])
        total = GaugeMetricFamily("embedding_gpu_memory_total_bytes", "Memory of the GPU", labels=["gpu"])
        busy = GaugeMetricFamily("embedding_gpu_utilisation_ratio", "Share of time with a kernel running", labels=["gpu"])
        cuda = self._torch.cuda
        for index in range(cuda.device_count()):
            free_bytes, total_bytes = cuda.mem_get_info(index)
            used.add_metric([str(index)], total_bytes - free_bytes)
            total.add_metric([str(index)], total_bytes)
            utilisation = _utilisation(cuda, index)
            if utilisation is not None:
                busy.add_metric([str(index)], utilisation)
        return [used, total, busy]


def _utilisation(cuda: Any, index: int) -> float | None:
    """None where the driver's management library is not installed."""
    try:
        percent: int = cuda.utilization(index)
    except (ModuleNotFoundError, RuntimeError):
        return None
    return percent / 100
