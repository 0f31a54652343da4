/** What the backends that are loaded get wrong or lack is mended by these. */
const repairs = new Set<() => void>();

/** Makes a repair, and again whenever `ensureKernels` is called. */
export function addRepair(repair: () => void): void {
  repairs.add(repair);
  repair();
}

/**
 * Mends what the backends that are loaded get wrong, and supplies what they lack for training. Cheap, and meant to be called often: a
 * backend that is loaded later, or again, brings its own kernels back.
 */
export function ensureKernels(): void {
  repairs.forEach(repair => {
    repair();
  });
}
