/** The exports of `assembly/index.ts`. The files there document the parameters. */
export type QuantizedFunctions = Readonly<
  Record<
    'multiplyRounded' | 'multiplyRow' | 'multiplyRows' | 'prepareRow' | 'roundRow' | 'unpackColumns' | 'unpackRows',
    (...args: number[]) => void
  >
>;

export const MODULE_FORMATS = [
  ...['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K'],
  ...['F16', 'BF16', 'F32'],
] as const;

/** Bytes of the sums that `prepareRow` writes: four lanes for each part, and for each half of one. */
export function sumBytes(parts: number): number {
  return 48 * parts;
}

/** The formats whose blocks are multiplied with a rounded row, by their ids. */
export const ROUNDED_FORMATS: ReadonlySet<number> = new Set([0, 1, 2, 5, 7]);

/** The formats that `multiplyRows` takes, by their ids. */
export const JOINT_FORMATS: ReadonlySet<number> = new Set([0, 1, 2, 3, 5, 7]);

/** Bytes of a row that `roundRow` writes. */
export function roundedBytes(parts: number): number {
  return 72 * parts;
}
