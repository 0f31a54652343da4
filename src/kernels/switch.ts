/** Something that can be turned off. */
export interface Switch {
  isOff: boolean;
}

/** Runs `f` while something is turned off, and turns it on again, whatever happens in `f`. */
export async function whileOff<T>(it: Switch, f: () => T | Promise<T>): Promise<T> {
  it.isOff = true;
  try {
    return await f();
  } finally {
    it.isOff = false;
  }
}
