import {onBackend} from './lifecycle';
import {loadBeside} from './tryOut';

/**
 * Supplies what an extension has for a backend once its code is loaded, which begins when the backend is first set: a
 * page that never sets it need not load the code. Until then operations are composed of tfjs's own.
 *
 * @param supply takes a supplier, which returns `undefined` as long as there is nothing.
 * @param load returns the supplier. After a failure it is called again when the backend is set again.
 */
export function supplyLater<T>(
  supply: (backend: string, supplier: () => T | undefined) => void,
  backend: string,
  load: () => Promise<() => T | undefined>,
): void {
  let supplier: (() => T | undefined) | undefined;
  let isLoading = false;
  supply(backend, () => supplier?.());
  onBackend(current => {
    if (current !== backend || isLoading) {
      return;
    }
    isLoading = true;
    const loaded = load().then(
      found => void (supplier = found),
      () => void (isLoading = false),
    );
    loadBeside(loaded);
  });
}
