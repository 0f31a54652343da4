/** Milliseconds after which a database counts as blocked. */
const PATIENCE = 10_000;

/**
 * Opens a database of the page. While another connection keeps the database from being deleted, the browser silently
 * blocks everyone who opens it.
 *
 * @param upgrade makes the stores of a new one.
 * @throws Error if there is no IndexedDB, the database cannot be opened, or it is blocked.
 */
export function openDatabase(name: string, upgrade: (database: IDBDatabase) => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    // Some web views have null.
    const {indexedDB: factory} = globalThis as {indexedDB?: IDBFactory | null};
    if (factory == null) {
      throw new Error('This page has no IndexedDB.');
    }
    const request = factory.open(name, 1);
    request.onupgradeneeded = () => upgrade(request.result);
    request.onsuccess = () => {
      clearTimeout(timer);
      resolve(request.result);
    };
    request.onerror = () => {
      clearTimeout(timer);
      reject(request.error ?? new Error('The database cannot be opened.'));
    };
    const timer = setTimeout(() => {
      request.onsuccess = () => request.result.close(); // nobody waits for it any more
      reject(
        new Error(
          `The database "${name}" has not opened within ${PATIENCE / 1000} s. It is probably being deleted, and ` +
            'another tab or worker keeps it open: close that one or reload its page, and try again.',
        ),
      );
    }, PATIENCE);
  });
}
