import type {GateKind} from './transformer';

// Activations as expressions for WGSL and GLSL. A program declares the variables in them.

/** `2·√(2/π)`, since `½·(1 + tanh(u)) = sigmoid(2u)`. */
export const TANH_SLOPE = 2 * Math.sqrt(2 / Math.PI);
export const TANH_CUBIC = 0.044715;

/** `1/(1 + exp(−z))` without overflow. */
export const SIGMOID = '1.0 / (1.0 + exp(-clamp(z, -80.0, 80.0)))';

/** The error function of `z` as in tfjs (Abramowitz and Stegun, 7.1.26), by `t` and `p`. */
export const ERF = {
  t: '1.0 / (1.0 + 0.3275911 * abs(z))',
  p: '((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t',
  erf: 'sign(z) * (1.0 - p * exp(-z * z))',
} as const;

/** The factor `c` of `x` in an activation, by `sigmoid` and `erf`, and its slope `f`, by `x` and `c`. */
export const GATES: Readonly<Record<GateKind, {readonly c: string; readonly f: string}>> = {
  gelu: {
    c: `0.5 + 0.5 * erf(x * ${Math.SQRT1_2})`,
    f: `c + x * ${1 / Math.sqrt(2 * Math.PI)} * exp(-0.5 * x * x)`,
  },
  gelu_tanh: {
    c: `sigmoid(x * (${TANH_SLOPE} + ${TANH_SLOPE * TANH_CUBIC} * x * x))`,
    f: `c + x * c * (1.0 - c) * (${TANH_SLOPE} + ${3 * TANH_SLOPE * TANH_CUBIC} * x * x)`,
  },
  silu: {c: 'sigmoid(x)', f: 'c + x * c * (1.0 - c)'},
};
