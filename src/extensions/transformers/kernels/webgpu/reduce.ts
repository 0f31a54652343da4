import {GROUP} from '../../../../backends/webgpu/program';

/** Workgroup functions: the sum and the maximum over its invocations, all of which must call them. */
export const REDUCE = `var<workgroup> part: array<f32, ${GROUP}>;
${reduction('total', 'a + b')}
${reduction('largest', 'max(a, b)')}`;

function reduction(name: string, combined: string): string {
  return `fn ${name}(value: f32, lane: i32) -> f32 {
  part[lane] = value;
  workgroupBarrier();
  for (var s = ${GROUP / 2}; s > 0; s /= 2) {
    if (lane < s) { let a = part[lane]; let b = part[lane + s]; part[lane] = ${combined}; }
    workgroupBarrier();
  }
  let result = part[0];
  workgroupBarrier();
  return result;
}`;
}

/** A loop over a row, in which the invocations take turns. */
export function laneLoop(j: string, end: string, body: string): string {
  return `for (var ${j} = lane; ${j} < ${end}; ${j} += ${GROUP}) { ${body} }`;
}
