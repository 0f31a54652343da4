import type {RowRule} from './operation';
import {constantAt, type Value} from './values';

// Rules for rows that operations of several kinds share.

/** Of an operation that mixes rows, or for which nothing else is proved. */
export const mixed: RowRule = () => false;

/** Whether only the first input depends on the inputs of the graph. The others are parameters. */
export const byFirst: RowRule = ({values}) => isFlow(values[0]) && !values.slice(1).some(isFlow);

/** By broadcasting: an input without rows must not reach the batch axis. */
export const byBroadcast: RowRule = ({values, ranks}) => {
  const rank = Math.max(...ranks);
  return values.every((value, i) =>
    isFlow(value) ? ranks[i] === rank : (ranks[i] ?? 0) < rank || shapeOf(value)[0] === 1,
  );
};

/** Along axes that are the second input. */
export const alongAxes: RowRule = ({values, ranks, numbers}) => {
  const axes = numbers(1) ?? [];
  return isFlow(values[0]) && axes.length > 0 && axes.every(axis => isInside(axis, ranks[0]));
};

export const alongLast: RowRule = subject => byFirst(subject) && (subject.ranks[0] ?? 0) > 1;

/** Whether an axis is not the first one. */
export function isInside(axis: number | undefined, rank = 0): boolean {
  return axis !== undefined && axis !== 0 && axis !== -rank;
}

export function isFlow(value: Value | undefined): boolean {
  return value?.kind === 'flow';
}

export function shapeOf(value: Value | undefined): readonly number[] {
  if (value === undefined) {
    return [];
  }
  return value.kind === 'flow' ? value.shapes[0] : constantAt(value).tensor.shape;
}
