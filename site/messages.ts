// What a page and the frame that runs its code tell each other.

/** Blocks of code that run one after the other. */
export interface Program {
  /** The page's name in `test/docs/surroundings`, which has what its code takes for granted. */
  page: string;
  blocks: string[];
}

export type Message =
  {kind: 'ready'} | {kind: 'run'; program: Program} | {kind: 'size'; height: number} | {kind: 'end'; error?: string};

export function post(target: Window, message: Message): void {
  target.postMessage(message, location.origin);
}
