/** What came of a graph. Differences are relative to the largest number of its outputs. */
export interface Outcome {
  name: string;
  /** Whether a part of it was imported. */
  cut: boolean;
  /** Why the whole was refused. */
  refusal?: string;
  /** Why plain tfjs cannot run it here. */
  plain?: string;
  error?: string;
  newBuffers?: number;
  layers?: {stock: number; ops: number};
  batch?: 'free' | 'stays';
  /** The imported model against the graph. */
  difference?: number;
  /** A batch of two against two of one. */
  rows?: number;
  adapted?: number;
  /** Of the steps. */
  rate?: number;
  leaked?: number;
  losses?: [first: number, last: number];
  frozenKept?: boolean;
  /** How far training moved the outputs. */
  moved?: number;
  merged?: number;
  written?: number;
  reloaded?: number;
}

const COLUMNS = ['graph', 'layers', 'ops', 'batch', 'import', 'two rows', 'adapted', 'loss', 'merged', 'written back'];

const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;

/** The head of a table in Markdown. */
export const HEAD = [line(COLUMNS), line(COLUMNS.map(() => '---'))].join('\n');

/** An outcome as a row of it. */
export function row(outcome: Outcome): string {
  return line([
    outcome.name + (outcome.cut ? ' (a part)' : ''),
    outcome.layers?.stock ?? '–',
    outcome.layers?.ops ?? '–',
    outcome.batch ?? '–',
    outcome.plain === undefined ? figure(outcome.difference) : 'plain tfjs cannot run it',
    figure(outcome.rows),
    outcome.adapted ?? '–',
    outcome.losses?.map(loss => loss.toPrecision(3)).join(' → ') ?? (outcome.error ?? '–').split('\n')[0]!.slice(0, 80),
    figure(outcome.merged),
    figure(outcome.written),
  ]);
}

/** What all graphs have in common, and which are exceptions. */
export function summary(outcomes: readonly Outcome[]): string {
  const imported = outcomes.filter(({layers}) => layers !== undefined);
  const back = imported.filter(
    ({error, losses, written, plain}) => error === undefined && losses && (written !== undefined || plain),
  );
  const bad = outcomes.flatMap(({name, ...outcome}) => {
    const faults = [
      ...(outcome.losses !== undefined && outcome.losses[1] >= outcome.losses[0] ? ['the loss did not fall'] : []),
      ...((outcome.difference ?? 0) > 2e-5 ? [`import ${figure(outcome.difference)}`] : []),
      ...((outcome.rows ?? 0) > 2e-5 ? [`two rows ${figure(outcome.rows)}`] : []),
      ...((outcome.merged ?? 0) > 2e-5 ? [`merge ${figure(outcome.merged)}`] : []),
      ...((outcome.written ?? 0) > 2e-5 ? [`written back ${figure(outcome.written)}`] : []),
      ...((outcome.reloaded ?? 0) > 0 ? [`reloaded ${figure(outcome.reloaded)}`] : []),
      ...((outcome.leaked ?? 0) !== 0 ? [`${outcome.leaked ?? 0} tensors leaked`] : []),
      ...(outcome.frozenKept === false ? ['a frozen weight changed'] : []),
      ...((outcome.newBuffers ?? 0) > 0 ? [`${outcome.newBuffers ?? 0} new buffers`] : []),
      ...(outcome.error === undefined ? [] : [outcome.error.split('\n')[0]!.slice(0, 160)]),
    ];
    return faults.length > 0 ? [`${name}: ${faults.join('; ')}`] : [];
  });
  return [
    `${imported.length} of ${outcomes.length} imported, ${back.length} trained, merged and written back.`,
    ...bad,
  ].join('\n');
}

function figure(value: number | undefined): string {
  return value === undefined ? '–' : value === 0 ? '0' : value.toExponential(0);
}
