import type {GraphWriter} from '../write/graphWriter';
import {nodeMessages} from '../write/messages';
import type {Replacement} from './spliceOnnx';

/** The nodes behind the one that returned `y`, whose value gets another name, so that `y` becomes `y + (x·A)·B`. */
export function updateBeside(out: GraphWriter, x: string, y: string, [a, b]: readonly [string, string]): Replacement {
  const output = out.freeName(`${y}_base`);
  const sum = out.node('Add', [output, out.node('MatMul', [out.node('MatMul', [x, a]), b])]);
  out.rename(sum, y);
  const nodes = nodeMessages(out.nodes);
  out.nodes = [];
  return {output, nodes};
}
