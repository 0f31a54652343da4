/** The exports of `../native/index.ts`, which documents the parameters. */
export type NativeFunctions = Readonly<
  Record<
    | 'adam'
    | 'affine'
    | 'clamp'
    | 'convolutionKernelGradient'
    | 'convolve'
    | 'depthwise'
    | 'depthwiseInputGradient'
    | 'depthwiseKernelGradient'
    | 'descend'
    | 'maskByBits'
    | 'maskByOutput'
    | 'maxPoolGradient'
    | 'momentum'
    | 'multiply'
    | 'multiplyBy4'
    | 'multiplyTransposed'
    | 'normalize'
    | 'packColumns'
    | 'packRows'
    | 'pad'
    | 'scaleColumns'
    | 'toBits'
    | 'transpose'
    | 'turnTaps'
    | 'winogradInput'
    | 'winogradKernel'
    | 'winogradOutput',
    (...args: number[]) => void
  >
> & {
  readonly holds: (place: number, count: number, value: number) => number;
  readonly sumOfSquares: (place: number, count: number) => number;
};
