/** The exports of `assembly/index.ts`. The files there document the parameters. */
export type TransformerFunctions = Readonly<
  Record<
    | 'addRows'
    | 'crossEntropy'
    | 'crossEntropyGradient'
    | 'gate'
    | 'gateGradient'
    | 'multiplyInto'
    | 'normalizeRows'
    | 'normalizeRowsGradient'
    | 'normalizeRowsWeights'
    | 'rotate'
    | 'scoreKeys'
    | 'softCap'
    | 'softmaxGradient'
    | 'softmaxRows'
    | 'sumValues',
    (...args: number[]) => void
  >
>;
