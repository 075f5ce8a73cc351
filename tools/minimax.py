#!/usr/bin/python3
"""Fits the polynomials of core/math.h: the coefficients there are what this prints.

usage: tools/minimax.py      (needs mpmath and numpy)

Each fit is a polynomial P of the variable t over an interval with |weight(t) (P(t) - f(t))| as small as possible at its
worst (Remez's aim, reached here by Lawson's reweighted least squares). Coefficients are rounded to the working precision
one after the other, the most significant first, and the rest is fitted again each time.
"""
import mpmath as mp
import numpy as np

mp.mp.dps = 60


def rounded(c, double):
    return float(c) if double else float(np.float32(float(c)))


def least_squares(nodes, targets, weights, powers):
    """Coefficients for the given powers of t that minimise sum (w (P(t) - f))^2, in high precision."""
    rows = len(powers)
    a, b = mp.matrix(rows, rows), mp.matrix(rows, 1)
    columns = [[w * t**p for t, w in zip(nodes, weights)] for p in powers]
    values = [w * f for f, w in zip(targets, weights)]
    for i in range(rows):
        for j in range(i, rows):
            a[i, j] = a[j, i] = mp.fdot(columns[i], columns[j])
        b[i] = mp.fdot(columns[i], values)
    return list(mp.lu_solve(a, b))


def minimax(nodes, targets, weights, powers, rounds=40):
    lawson = [mp.mpf(1)] * len(nodes)
    best, best_error = None, mp.inf
    for _ in range(rounds):
        c = least_squares(nodes, targets, [w * mp.sqrt(l) for w, l in zip(weights, lawson)], powers)
        errors = [abs(w * (mp.fdot(c, [t**p for p in powers]) - f)) for t, f, w in zip(nodes, targets, weights)]
        worst = max(errors)
        if worst < best_error:
            best, best_error = c, worst
        lawson = [l * (e / worst + mp.mpf(10) ** -9) for l, e in zip(lawson, errors)]
        total = mp.fsum(lawson)
        lawson = [l / total * len(nodes) for l in lawson]
    return best, best_error


def fit(name, f, weight, low, high, degree, double=False, count=120):
    """f(t) ~ c[0] + c[1] t + ... + c[degree] t^degree on [low, high]; prints the coefficients and the worst error."""
    middle, half = (mp.mpf(low) + high) / 2, (mp.mpf(high) - low) / 2
    nodes = [middle + half * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / count) for i in range(count)]
    targets, weights = [f(t) for t in nodes], [weight(t) for t in nodes]
    fixed, left, rest = [], list(range(degree + 1)), targets
    while left:
        c, _ = minimax(nodes, rest, weights, left)
        fixed.append(rounded(c[0], double))
        rest = [r - fixed[-1] * t ** left[0] for r, t in zip(rest, nodes)]
        left = left[1:]
    worst = max(abs(w * r) for w, r in zip(weights, rest))
    print(f"{name}: worst weighted error 2^{float(mp.log(worst, 2)):.1f}")
    for c in fixed:
        print("  " + (f"{c!r}" if double else f"{np.float32(c)!r}f"))


if __name__ == "__main__":
    r = mp.log(2) / 2 * (1 + mp.mpf(2) ** -10)
    # exp(t) = 1 + t + t^2 P(t); the same P serves expm1 = t + t^2 P(t)
    fit("exp", lambda t: (mp.expm1(t) - t) / t**2, lambda t: t**2 / mp.expm1(t), -r, r, 4)
    # log(1 + t) = t - t^2 / 2 + t^3 P(t)
    fit("log", lambda t: (mp.log1p(t) - t + t**2 / 2) / t**3, lambda t: t**3 / mp.log1p(t),
        mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 7)
    # log2(1 + t) = t + t P(t)
    fit("log2", lambda t: mp.log1p(t) / mp.log(2) / t - 1, lambda t: t * mp.log(2) / mp.log1p(t),
        mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 9)
    # erf(x) = -expm1(-(x + x P(x))), 0 <= x <= 4; beyond it is 1
    fit("erf", lambda x: -mp.log(mp.erfc(x)) / x - 1, lambda x: x * mp.erfc(x) / mp.erf(x), mp.mpf(10) ** -6, 4, 8)
    # sin(r) = r + r^3 P(r^2), cos(r) = 1 - r^2 / 2 + r^4 P(r^2), t = r^2
    quarter = (mp.pi / 4) ** 2 * (1 + mp.mpf(2) ** -10)
    fit("sin", lambda t: (mp.sin(mp.sqrt(t)) - mp.sqrt(t)) / mp.sqrt(t) ** 3,
        lambda t: mp.sqrt(t) ** 3 / mp.sin(mp.sqrt(t)), mp.mpf(10) ** -6, quarter, 3)
    fit("cos", lambda t: (mp.cos(mp.sqrt(t)) - 1 + t / 2) / t**2, lambda t: t**2 / mp.cos(mp.sqrt(t)),
        mp.mpf(10) ** -6, quarter, 2)
    # f(x) = x + x^3 P(x^2) for tan on a quarter's half, asin up to 1/2, atan up to 1, tanh up to 5/8; t = x^2
    for name, f, high, degree in (("tan", mp.tan, quarter, 6), ("asin", mp.asin, mp.mpf(1) / 4, 4),
                                  ("atan", mp.atan, 1, 8), ("tanh", mp.tanh, mp.mpf(25) / 64, 4)):
        fit(name, lambda t, f=f: (f(mp.sqrt(t)) - mp.sqrt(t)) / mp.sqrt(t) ** 3,
            lambda t, f=f: mp.sqrt(t) ** 3 / f(mp.sqrt(t)), mp.mpf(10) ** -6, high, degree)
