/** A computation number by number, on tensors of one shape. */
export interface Pointwise {
  readonly name: string;
  /** Names of the tensors. */
  readonly inputs: readonly string[];
  /** Names of the tensors after these, each a vector along the last axis. */
  readonly vectors?: readonly string[];
  /** Names of the numbers. */
  readonly settings: readonly string[];
  /** Each result, by an expression of all these and of the results before it that WGSL and GLSL both know. */
  readonly outputs: Readonly<Record<string, string>>;
}
