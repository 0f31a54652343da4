import {madd} from '../../../../../backends/wasm/assembly/lanes';

/** Clamps values between two bounds; NaN stays NaN. */
@inline
function within(low: f32, high: f32, x: v128): v128 {
  return f32x4.min(f32x4.splat(high), f32x4.max(f32x4.splat(low), x));
}

/** `eˣ` of four values, with a relative error of about 1e-7; 0 or a large finite value outside of float32. */
@inline
export function exp4(x: v128): v128 {
  const t = within(-87.3, 88.3, x);
  const n = f32x4.nearest(f32x4.mul(t, f32x4.splat(1.44269504088896341)));
  // ln 2 in two parts, so that the remainder is exact.
  let r = f32x4.sub(t, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.0 / 5040.0);
  p = madd(f32x4.splat(1.0 / 720.0), p, r);
  p = madd(f32x4.splat(1.0 / 120.0), p, r);
  p = madd(f32x4.splat(1.0 / 24.0), p, r);
  p = madd(f32x4.splat(1.0 / 6.0), p, r);
  p = madd(f32x4.splat(0.5), p, r);
  p = madd(f32x4.splat(1), p, r);
  p = madd(f32x4.splat(1), p, r);
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(p, power);
}

/** `1 / (1 + e⁻ˣ)` of four values. */
@inline
export function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/** The error function of four values, by a rational approximation, to about 1e-7. */
@inline
export function erf4(x: v128): v128 {
  const t = within(-4, 4, x);
  const s = f32x4.mul(t, t);
  let p = f32x4.splat(-2.72614225801306e-10);
  p = madd(f32x4.splat(2.77068142495902e-8), p, s);
  p = madd(f32x4.splat(-2.10102402082508e-6), p, s);
  p = madd(f32x4.splat(-5.69250639462346e-5), p, s);
  p = madd(f32x4.splat(-7.34990630326855e-4), p, s);
  p = madd(f32x4.splat(-2.95459980854025e-3), p, s);
  p = madd(f32x4.splat(-1.60960333262415e-2), p, s);
  let q = f32x4.splat(-1.45660718464996e-5);
  q = madd(f32x4.splat(-2.13374055278905e-4), q, s);
  q = madd(f32x4.splat(-1.68282697438203e-3), q, s);
  q = madd(f32x4.splat(-7.37332916720468e-3), q, s);
  q = madd(f32x4.splat(-1.42647390514189e-2), q, s);
  return f32x4.div(f32x4.mul(p, t), q);
}

/** The sum of the four values. */
@inline
export function total(x: v128): f32 {
  return (
    f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3))
  );
}
