let isOff = false;

/** Whether our wasm module and our programs on graphics cards may be used. */
export function mayUseOwnCode(): boolean {
  return !isOff;
}

/** Runs `f` without our wasm module and our programs, as where they cannot be used. */
export async function withoutOwnCode<T>(f: () => T | Promise<T>): Promise<T> {
  isOff = true;
  try {
    return await f();
  } finally {
    isOff = false;
  }
}
