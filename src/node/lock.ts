import {linkSync, readFileSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {setTimeout} from 'node:timers/promises';
import {busyError} from '../platform/errors';
import {draftOf, isWriterGone, newTag} from './drafts';

/** The renames of a save are milliseconds apart. */
const PATIENCE = 10_000;
/** After this time the lock of another machine is one that it has left. */
const STALE = 60_000;

/**
 * Runs `f` while no other process runs one for the same file. Saves give one that is synchronous, so that what holds
 * the lock is never kept waiting. The lock of a process that was killed is taken over.
 *
 * @throws LoRAError if another process does not give the lock back.
 */
export async function locked(target: string, f: () => void | Promise<void>): Promise<void> {
  const lock = `${target}.lock`;
  const tag = newTag();
  const deadline = Date.now() + PATIENCE;
  while (!take(lock, tag)) {
    await breakStale(lock);
    if (Date.now() > deadline) {
      throw busyError(
        `Another process has been saving for ${PATIENCE / 1000} s. If no process is saving, remove ${lock}.`,
      );
    }
    await setTimeout(1 + 10 * Math.random());
  }
  try {
    await f();
  } finally {
    if (ownerOf(lock) === tag) {
      rmSync(lock, {force: true});
    }
  }
}

/** Makes the lock with its owner's name in it in one step, unless a lock exists. */
function take(lock: string, tag: string): boolean {
  const draft = draftOf(lock, tag);
  try {
    writeFileSync(draft, tag, {flag: 'wx'});
    try {
      linkSync(draft, lock);
    } catch (error) {
      if (isTaken(error)) {
        return false;
      }
      writeFileSync(lock, tag, {flag: 'wx'}); // some file systems, FAT for one, have no links
    }
    return true;
  } catch (error) {
    if (isTaken(error)) {
      return false;
    }
    throw error;
  } finally {
    rmSync(draft, {force: true});
  }
}

function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EEXIST';
}

function ownerOf(lock: string): string | undefined {
  try {
    return readFileSync(lock, 'utf8');
  } catch {
    return undefined;
  }
}

async function breakStale(lock: string): Promise<void> {
  const owner = ownerOf(lock);
  if (owner === undefined || !(await isWriterGone(owner, lock, STALE))) {
    return;
  }
  const aside = draftOf(lock);
  try {
    renameSync(lock, aside);
    if (ownerOf(aside) !== owner) {
      linkSync(aside, lock); // another process was faster, and this is its lock
    }
  } catch {
    // Another process was faster.
  } finally {
    rmSync(aside, {force: true});
  }
}
