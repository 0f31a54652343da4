/** These correct what the loaded backends get wrong and add what they lack. */
const repairs = new Set<() => void>();

/** Makes a repair, and again whenever `ensureKernels` is called. */
export function addRepair(repair: () => void): void {
  repairs.add(repair);
  repair();
}

/**
 * Corrects what the loaded backends get wrong, and adds what they lack for training. Cheap, and meant to be called often: a
 * backend that is loaded later, or again, brings its own kernels back.
 */
export function ensureKernels(): void {
  repairs.forEach(repair => {
    repair();
  });
}
