# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Memory and a stream on an NVIDIA device, by the package cuda-python."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.one_line import one_line


def import_cuda() -> Any:
    """Return the module cuda.bindings.runtime; raise BackendError without it."""
    try:
        from cuda.bindings import runtime
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(f"backend 'tensorrt' needs the extra [tensorrt]: {one_line(error)}") from error
    return runtime


def device_name(cuda: Any, device_id: int) -> str:
    """Return a device's name and compute capability, such as "Orin 8.7"; raise BackendError without it."""
    (count,) = checked(cuda, cuda.cudaGetDeviceCount())
    if device_id >= count:
        raise BackendError(f"CUDA device {device_id} was asked for, this computer has {count}")
    (properties,) = checked(cuda, cuda.cudaGetDeviceProperties(device_id))
    name = properties.name
    text = name.decode(errors="replace").rstrip("\0") if isinstance(name, bytes) else str(name)
    return f"{text} {properties.major}.{properties.minor}"


def checked(cuda: Any, result: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what follows the status in a result of CUDA; raise BackendError where the status is an error."""
    status, *values = result
    if status != cuda.cudaError_t.cudaSuccess:
        raise BackendError(f"CUDA: {one_line(getattr(status, 'name', status))}")
    return tuple(values)


class DeviceMemory:
    """Buffers of a model's tensors on a device, and the stream in which they are copied."""

    def __init__(self, cuda: Any, device_id: int) -> None:
        """Create the stream; raise BackendError without a device."""
        self._cuda, self._device_id = cuda, device_id
        self._buffers: dict[str, tuple[Any, int]] = {}
        self.select()
        (self.stream,) = checked(cuda, cuda.cudaStreamCreate())

    def select(self) -> None:
        """Select the device for the calling thread; each thread has its own choice."""
        checked(self._cuda, self._cuda.cudaSetDevice(self._device_id))

    def reserve(self, name: str, size: int) -> int:
        """Return the address of a tensor's buffer of at least so many bytes."""
        pointer, present = self._buffers.get(name, (None, 0))
        if size > present or pointer is None:
            self._free(name)
            (pointer,) = checked(self._cuda, self._cuda.cudaMalloc(max(size, 1)))
            self._buffers[name] = pointer, size
        return int(pointer)

    def upload(self, name: str, array: NDArray[Any]) -> int:
        """Copy a contiguous array to the device, and return the address."""
        address = self.reserve(name, array.nbytes)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        copy = self._cuda.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self.stream)
        checked(self._cuda, copy)
        return address

    def download(self, name: str, array: NDArray[Any]) -> None:
        """Copy a buffer into an array; it is there after wait()."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        address = self.reserve(name, array.nbytes)
        copy = self._cuda.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self.stream)
        checked(self._cuda, copy)

    def wait(self) -> None:
        """Wait until the stream is done."""
        checked(self._cuda, self._cuda.cudaStreamSynchronize(self.stream))

    def close(self) -> None:
        """Free all buffers and the stream; a second time does nothing."""
        for name in list(self._buffers):
            self._free(name)
        stream, self.stream = self.stream, None
        if stream is not None:
            checked(self._cuda, self._cuda.cudaStreamDestroy(stream))

    def _free(self, name: str) -> None:
        pointer, _ = self._buffers.pop(name, (None, 0))
        if pointer is not None:
            checked(self._cuda, self._cuda.cudaFree(pointer))
