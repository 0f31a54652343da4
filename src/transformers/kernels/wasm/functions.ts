/** The exports of `../../native/transformer/index.ts`, which documents the parameters. */
export type TransformerFunctions = Readonly<
  Record<
    | 'addRows'
    | 'crossEntropy'
    | 'crossEntropyGradient'
    | 'gate'
    | 'gateGradient'
    | 'normalizeRows'
    | 'normalizeRowsGradient'
    | 'normalizeRowsWeights'
    | 'rotate'
    | 'softmaxGradient'
    | 'softmaxRows',
    (...args: number[]) => void
  >
>;
