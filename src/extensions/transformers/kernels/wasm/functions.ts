/** The exports of `assembly/index.ts`. The files there document the parameters. */
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
    | 'scoreKeys'
    | 'softmaxGradient'
    | 'softmaxRows'
    | 'sumValues',
    (...args: number[]) => void
  >
>;
