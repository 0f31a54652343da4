const DATABASE = 'tfjs-lora-pages';
const STORE = 'kept';

/**
 * A value that the browser keeps for a page in IndexedDB: anything that can be cloned, also lists of bytes. Of values
 * that are written in quick succession, the last one is kept.
 */
export class Kept<T> {
  private next: {value: T} | null = null;
  private writing: Promise<boolean> | null = null;

  constructor(private readonly name: string) {}

  /** The value that was kept last; `null` if there is none, or if the browser allows no storage. */
  async read(): Promise<T | null> {
    try {
      return ((await request('readonly', store => store.get(this.name))) as T | undefined) ?? null;
    } catch {
      return null;
    }
  }

  /** Keeps a value. Returns whether the browser did. */
  write(value: T): Promise<boolean> {
    this.next = {value};
    this.writing ??= this.writeAll().finally(() => (this.writing = null));
    return this.writing;
  }

  private async writeAll(): Promise<boolean> {
    let isKept = false;
    while (this.next !== null) {
      const {value} = this.next;
      this.next = null;
      try {
        await request('readwrite', store => store.put(value, this.name));
        isKept = true;
      } catch {
        isKept = false;
      }
    }
    return isKept;
  }
}

/** Makes a request to the store, and waits until it is on the disk. */
async function request(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  const opening = indexedDB.open(DATABASE, 1);
  opening.addEventListener('upgradeneeded', () => opening.result.createObjectStore(STORE));
  const database = (await settled(opening)) as IDBDatabase;
  try {
    const transaction = database.transaction(STORE, mode);
    const done = new Promise<void>((resolve, reject) => {
      transaction.addEventListener('complete', () => resolve());
      transaction.addEventListener('abort', () => reject(new Error('The browser kept nothing.')));
    });
    const [result] = await Promise.all([settled(act(transaction.objectStore(STORE))), done]);
    return result;
  } finally {
    database.close();
  }
}

function settled(waiting: IDBRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    waiting.addEventListener('success', () => resolve(waiting.result));
    waiting.addEventListener('error', () => reject(new Error(waiting.error?.message)));
    waiting.addEventListener('blocked', () => reject(new Error('Another tab holds the store.')));
  });
}
