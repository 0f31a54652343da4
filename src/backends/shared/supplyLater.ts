import {loadWithBackend} from './backendParts';

/**
 * Supplies what an extension has for a backend once its code is loaded, which begins when the backend is set: a page
 * that never sets it need not load the code. Until then operations are composed of tfjs's own.
 *
 * @param supply takes a supplier, which returns `undefined` as long as there is nothing.
 * @param load returns the supplier.
 */
export function supplyLater<T>(
  supply: (backend: string, supplier: () => T | undefined) => void,
  backend: string,
  load: () => Promise<() => T | undefined>,
): void {
  let supplier: (() => T | undefined) | undefined;
  supply(backend, () => supplier?.());
  loadWithBackend(backend, async () => void (supplier = await load()));
}
