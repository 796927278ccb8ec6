"""Eight-bit networks: a float32 OpenVINO model and some of the user's images in, a calibrated model out."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.engines import conversions
from hybrid.engines.engine import Calibration
from hybrid.sources.source import Network

if TYPE_CHECKING:
    from openvino import Core, Model


def calibration_digest(calibration: Calibration) -> str | None:
    """Name the images that a network is calibrated by; a digest stays as it is."""
    if calibration is None or isinstance(calibration, str):
        return calibration
    images = np.ascontiguousarray(calibration)
    return hashlib.sha256(repr((images.shape, images.dtype.str)).encode() + images.tobytes()).hexdigest()[:16]


def usual_calibration(network: Network) -> str | None:
    """Return the digest of the images that this machine first calibrated the network by."""
    try:
        return _usual_file(network).read_text()
    except OSError:
        return None


def make_usual(network: Network, digest: str) -> None:
    """Make a calibration the network's usual one, so that all clones and processes share its features."""
    with contextlib.suppress(OSError):
        conversions.make_folder()
        with open(_usual_file(network), "x", encoding="ascii") as file:
            file.write(digest)


def _usual_file(network: Network) -> Path:
    return conversions.networks_folder() / f"{conversions.identity(network, 'int8')}.calibration"


def calibrated(
    core: Core,
    network: Network,
    layers: tuple[str, ...],
    calibration: Calibration,
    load_exact: Callable[[], Model],
) -> Model:
    """Return the network calibrated by these images, from disk if any process calibrated it before."""
    if calibration is None:
        raise ValueError(
            "Precision 'int8' needs calibration images: some hundred of your own, as one uint8 array "
            "of the network's size."
        )
    digest = calibration_digest(calibration)
    key = conversions.identity(network, layers, "int8", digest)
    model = conversions.read(core, key)
    if model is None:
        if isinstance(calibration, str):
            raise ValueError(
                f"No network calibrated by images {digest!r} is kept in {conversions.networks_folder()}: "
                "pass the images themselves."
            )
        model = calibrate(load_exact(), network, calibration)
        conversions.keep(core, key, model)
    return model


def calibrate(model: Model, network: Network, images: np.ndarray) -> Model:
    """Set the scales of every layer by these images."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (*network.size, 3) or not len(images):
        raise ValueError(
            f"Got calibration images of shape {images.shape} and {images.dtype}, "
            f"but expected (n, {network.size[0]}, {network.size[1]}, 3) and uint8."
        )
    try:
        import nncf
    except ImportError as exc:
        raise ValueError("Precision 'int8' needs NNCF: pip install \"hybrid-features[int8]\"") from exc
    samples = [image[np.newaxis] for image in images]
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
