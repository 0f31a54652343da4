/** Bytes a number takes, by the type in which tfjs stores it. */
export const BYTES: Partial<Record<string, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  complex64: 8,
  float16: 2,
  uint16: 2,
  uint8: 1,
};
