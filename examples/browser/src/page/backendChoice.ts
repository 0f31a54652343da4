import type {Backend} from '../protocol';

const KEY = 'digit-reader-backend';

/** The backend that the visitor chose last time, if the browser keeps it. */
export function rememberedBackend(): Backend | null {
  try {
    return localStorage.getItem(KEY) as Backend | null;
  } catch {
    return null; // the visitor lets no page store anything
  }
}

export function rememberBackend(backend: Backend): void {
  try {
    localStorage.setItem(KEY, backend);
  } catch {
    // then it is chosen again next time
  }
}
