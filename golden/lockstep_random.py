"""Random numbers with the same bits on every machine and with every numpy. They are made of integer hashes and of those
floating-point operations that IEEE 754 rounds in one way only: conversion, sum, product. numpy's own generators use libm for
normal numbers, and may change between versions.

Value i of a stream is SplitMix64's (Steele, Lea, Flood 2014): mix(key + i * 0x9E3779B97F4A7C15).
"""
import zlib

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1
AT_ONCE = 1 << 15  # values that fit a core's cache


def mix(z):
    """Mixes an array of uint64 in place."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


class Stream:
    """Has the methods of numpy's Generator that the makers of models call."""

    def __init__(self, seed, name):
        self.key = int(mix(np.array([seed << 32 | zlib.crc32(name.encode())], np.uint64))[0])
        self.at = 0

    def words(self, n):
        """The next n 64-bit values."""
        first = np.uint64((self.key + self.at * GOLDEN) & WORD)
        self.at += n
        return mix(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GOLDEN) + first)

    def standard_normal(self, shape, dtype=np.float64):
        """The sum of four uniform 16-bit numbers: normal, except that its tails end at 3.46 standard deviations."""
        values = np.empty(int(np.prod(shape)), dtype)
        deviation = dtype((4 * (2**32 - 1) / 12) ** 0.5)
        for i in range(0, values.size, AT_ONCE):
            parts = self.words(min(AT_ONCE, values.size - i)).view(np.uint16).reshape(-1, 4)
            sums = parts.astype(np.int32) @ np.ones(4, np.int32) - 2 * 65535
            values[i:i + sums.size] = sums.astype(dtype) / deviation
        return values.reshape(shape)

    def normal(self, mean, deviation, shape):
        return mean + deviation * self.standard_normal(shape)

    def uniform(self, low, high, shape):
        unit = (self.words(int(np.prod(shape))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * unit.reshape(shape)

    def integers(self, low, high, shape, dtype, endpoint=False):
        """At most 256 values."""
        span = high - low + endpoint
        n = int(np.prod(shape))
        drawn = self.words((n + 3) // 4).view(np.uint16)[:n].astype(np.uint32) * np.uint32(span) >> np.uint32(16)
        return (drawn + low).astype(dtype).reshape(shape)

    def choice(self, n, count, replace):
        assert not replace
        chosen = []
        while len(chosen) < count:
            one = int(self.words(1)[0] % np.uint64(n))
            chosen += [one] if one not in chosen else []
        return np.array(chosen)
