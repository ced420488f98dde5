"""Which engines a run of `prepare` has to make files for."""

from importlib.util import find_spec

from embedding_serving.contract.model import EngineName

from .errors import UnsupportedModelError

CPU_ENGINES = frozenset({EngineName.ONNX_RUNTIME, EngineName.OPENVINO})


def torch_installed() -> bool:
    return find_spec("torch") is not None and find_spec("transformers") is not None


def wanted_engines(engine: EngineName, with_torch: bool) -> frozenset[EngineName]:
    """`Auto` covers torch only in an image that has it, so that volumes of CPU clusters hold the weights once."""
    match engine:
        case EngineName.AUTO:
            return CPU_ENGINES | ({EngineName.TORCH} if with_torch else frozenset())
        case EngineName.ONNX_RUNTIME | EngineName.OPENVINO:
            return CPU_ENGINES
        case EngineName.TORCH:
            return frozenset({EngineName.TORCH})
        case EngineName.TRITON:
            raise UnsupportedModelError(
                "runtime.engine Triton is not available in this version: use Auto, ONNXRuntime, OpenVINO or Torch"
            )
