import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {TextExample, TextPair} from 'tfjs-lora/transformers';
import {shuffled} from '../shared/random';

/** A classification task on subject lines. */
export interface Task {
  name: string;
  classes: readonly string[];
  train: TextExample[];
  test: TextExample[];
}

/** The parts of a mail that are used, without addresses. */
export interface Mail {
  group: string;
  subject: string;
  /** Its mailing list. */
  list: string;
  /** What its writer wrote, and what is quoted from the mail that it answers. */
  written: string;
  quoted: string;
}

const LISTS = ['fork', 'ilug', 'rpm-zzzlist', 'razor-users', 'spamassassin', 'exmh'];

/** The tasks, from the folder of SpamAssassin's mails: spam or not, which mailing list, newsletter or person. */
export function makeTasks(
  folder: string,
  {train, test}: {train: number; test: number},
): Record<'spam' | 'list' | 'newsletter', Task> {
  const mails = shuffled(readMails(folder), 7);
  const task = (name: string, classes: readonly string[], labelOf: (mail: Mail) => number): Task => {
    const examples = mails.map(mail => ({text: mail.subject, label: labelOf(mail)})).filter(({label}) => label >= 0);
    const chosen = balanced(examples, classes.length, train + test);
    return {name, classes, train: chosen.slice(0, train), test: chosen.slice(train)};
  };
  return {
    spam: task('spam or not', ['not', 'spam'], ({group}) => (group.startsWith('spam') ? 1 : 0)),
    list: task('which mailing list', LISTS, ({group, list}) =>
      group.includes('ham') ? LISTS.findIndex(name => list.startsWith(name)) : -1,
    ),
    newsletter: task('newsletter or person', ['person', 'newsletter'], ({group}) =>
      group.startsWith('hard-ham') ? 1 : group.startsWith('easy-ham') ? 0 : -1,
    ),
  };
}

/** Pairs of texts that belong together: a subject line and the mail, and what is quoted and the answer to it. */
export function makePairs(
  folder: string,
  {train, test}: {train: number; test: number},
): Record<'subject' | 'reply', {train: TextPair[]; test: TextPair[]}> {
  const mails = shuffled(readMails(folder), 7).filter(({group}) => group.startsWith('easy-ham'));
  const pairs = (pairOf: (mail: Mail) => TextPair) => {
    const long = mails.map(pairOf).filter(({anchor, positive}) => anchor.length >= 15 && positive.length >= 40);
    return {train: long.slice(test, test + train), test: long.slice(0, test)};
  };
  return {
    subject: pairs(({subject, written}) => ({anchor: subject, positive: written})),
    reply: pairs(({quoted, written}) => ({anchor: quoted, positive: written})),
  };
}

/** The mails with distinct subjects, without what would reveal the answer: `Re:` and tags of lists. */
export function readMails(folder: string): Mail[] {
  const mails = new Map<string, Mail>();
  for (const group of readdirSync(folder, {withFileTypes: true}).filter(entry => entry.isDirectory())) {
    for (const file of readdirSync(join(folder, group.name)).filter(name => name.endsWith('.json'))) {
      const {text} = JSON.parse(readFileSync(join(folder, group.name, file), 'utf8')) as {text: string};
      const subject = plain(/^Subject:(.*)$/im.exec(text)?.[1] ?? '');
      const key = subject.toLowerCase();
      if (subject.length >= 5 && !mails.has(key)) {
        const list = /^List-Id:.*<([^>]+)>/im.exec(text)?.[1] ?? '';
        mails.set(key, {group: group.name, subject, list, ...bodyOf(text)});
      }
    }
  }
  return [...mails.values()];
}

/** The written and the quoted lines of a mail. */
function bodyOf(text: string): Pick<Mail, 'written' | 'quoted'> {
  const isAboutMail = (line: string) => /^(url|date):|(wrote|writes|said)\s?:?\s*$|@|https?:|^-{2,}/i.test(line);
  const isQuoted = (line: string) => /^\s*[>|]/.test(line);
  const lines = text.slice(text.search(/\r?\n\r?\n/)).split('\n').filter(line => !isAboutMail(line)); // prettier-ignore
  const quoted = lines.filter(isQuoted).map(line => line.replace(/^[\s>|]+/, ''));
  return {written: plain(lines.filter(line => !isQuoted(line)).join(' ')), quoted: plain(quoted.join(' '))};
}

/** A text without tags of lists, `Re:` and addresses, on one line. */
function plain(text: string): string {
  return text
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\b(re|fwd?):/gi, ' ')
    .replace(/\S+@\S+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/** At most `count` examples, with the same number of each class where there are enough. */
function balanced<T extends {label: number}>(examples: readonly T[], classes: number, count: number): T[] {
  const most = Math.ceil(count / classes);
  const taken = new Array<number>(classes).fill(0);
  const even = examples.filter(({label}) => (taken[label] = taken[label]! + 1) <= most);
  return shuffled(even, 1).slice(0, count); // examples of a rare class are the last ones
}
