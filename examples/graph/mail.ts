import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {shuffled} from '../shared/random';

/** The subject of a mail, and whether it is spam. */
export interface Mail {
  text: string;
  spam: boolean;
}

/** Mails to train on and to test on. */
export interface Mails {
  train: Mail[];
  test: Mail[];
}

/**
 * Reads mails from a folder of SpamAssassin's public corpus, as many spam as not, the same ones for the same seed. No
 * subject is used twice, because a mail and its replies have the same one.
 */
export function readMails(folder: string, counts: {train: number; test: number}, seed: number): Mails {
  const subjects = new Map<string, Mail>();
  for (const group of readdirSync(folder)
    .filter(name => /ham|spam/.test(name))
    .sort()) {
    for (const file of readdirSync(join(folder, group)).sort()) {
      const text = subjectOf(readFileSync(join(folder, group, file), 'latin1'));
      if (text !== undefined) {
        subjects.set(text.toLowerCase(), {text, spam: group.startsWith('spam')});
      }
    }
  }
  const ofEither = [true, false].map(spam =>
    shuffled(
      [...subjects.values()].filter(mail => mail.spam === spam),
      seed,
    ),
  );
  const take = (from: number, count: number) =>
    shuffled(
      ofEither.flatMap(mails => mails.slice(from / 2, (from + count) / 2)),
      seed,
    );
  return {test: take(0, counts.test), train: take(counts.test, counts.train)};
}

/** The subject without the prefixes of replies and mailing lists. */
function subjectOf(mail: string): string | undefined {
  const [head = ''] = mail.split(/\r?\n\r?\n/, 1);
  const subject = /^subject:[ \t]*(.+)$/im.exec(head)?.[1];
  const text = subject?.replace(/^(?:\s*(?:re|fwd?|aw)(?:\[\d+\])?:|\s*\[[^\]]*\])+/gi, '').trim();
  return text === undefined || text === '' ? undefined : text;
}
