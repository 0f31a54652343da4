import {createHash, randomUUID} from 'node:crypto';
import {readdir, rm, stat} from 'node:fs/promises';
import {hostname} from 'node:os';
import {basename, dirname, join} from 'node:path';

// A save writes its files next to those that they replace, under names that identify the writer: the machine, the
// process, and a number. The next save can then distinguish drafts of a killed process from drafts that are being
// written.

const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const DRAFT = /^(?:\.lock)?\.([\da-f]{8}\.\d+\.[\da-f-]{36})\.draft(?:\.|$)/;
/** Processes on another machine cannot be checked. No save takes as long. */
const DAY = 24 * 60 * 60_000;

/** The signature of this process in file names. */
export function newTag(): string {
  return `${HOST}.${process.pid}.${randomUUID()}`;
}

/** A name next to a file for its replacement. */
export function draftOf(target: string, tag = newTag()): string {
  return `${target}.${tag}.draft`;
}

/** Whether the process that signed a file has ended, or, if unknown, the file is older than `age` milliseconds. */
export async function isWriterGone(tag: string, file: string, age = DAY): Promise<boolean> {
  const [host, pid] = tag.split('.');
  if (host === HOST) {
    try {
      process.kill(Number(pid), 0); // signal 0 asks, and does nothing
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ESRCH';
    }
  }
  try {
    return Date.now() - (await stat(file)).mtimeMs > age;
  } catch {
    return false; // another process has removed it
  }
}

/** The tag in the name of a draft of a file, if it is one. */
export function tagOfDraft(target: string, name: string): string | undefined {
  const base = basename(target);
  const suffix = name.startsWith(`${base}.`) ? name.slice(base.length) : '';
  return DRAFT.exec(suffix)?.[1];
}

/** Drafts of a file that killed saves have left next to it. */
export async function findSpares(target: string): Promise<string[]> {
  const folder = dirname(target);
  const spares: string[] = [];
  for (const name of await readdir(folder)) {
    const tag = tagOfDraft(target, name);
    const file = join(folder, name);
    if (tag !== undefined && (await isWriterGone(tag, file))) {
      spares.push(file);
    }
  }
  return spares;
}

/** Removes files, as far as possible. */
export async function removeAll(files: readonly string[]): Promise<void> {
  await Promise.allSettled(files.map(file => rm(file, {force: true})));
}
