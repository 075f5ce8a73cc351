"""Numbers that C++ and Python make alike, so that recordings need no inputs: generate.h beside it is the same."""
import math

MASK = (1 << 64) - 1


def uniform_at(index, i):
    """splitmix64: element i of input `index`, in [0, 1)."""
    z = ((index + 1) * 0x9E3779B97F4A7C15 + i * 0xD1B54A32D192ED03) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return (z >> 11) * 2.0**-53


def weight_at(i):
    """Weights in [0.5, 1.5) of a sum that tells elements apart."""
    return 0.5 + math.fmod(0.6180339887498949 * (i + 1), 1.0)


def index_of(name):
    """A number for uniform_at from a name: FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h
