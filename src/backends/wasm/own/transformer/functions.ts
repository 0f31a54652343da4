/** What `../../native/transformer/index.ts` exports. Its parameters are told there. */
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
