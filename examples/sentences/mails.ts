import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {TextExample} from 'tfjs-lora/transformers';
import {shuffled} from '../shared/random';

/** A classification task on subject lines. */
export interface Task {
  name: string;
  classes: readonly string[];
  train: TextExample[];
  test: TextExample[];
}

/** The parts of a mail that are used: no body, and no address. */
export interface Mail {
  group: string;
  subject: string;
  /** Its mailing list. */
  list: string;
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

/** The mails with distinct subjects, without what would reveal the answer: `Re:` and tags of lists. */
export function readMails(folder: string): Mail[] {
  const mails = new Map<string, Mail>();
  for (const group of readdirSync(folder, {withFileTypes: true}).filter(entry => entry.isDirectory())) {
    for (const file of readdirSync(join(folder, group.name)).filter(name => name.endsWith('.json'))) {
      const {text} = JSON.parse(readFileSync(join(folder, group.name, file), 'utf8')) as {text: string};
      const subject = (/^Subject:(.*)$/im.exec(text)?.[1] ?? '')
        .replace(/\[[^\]]*\]/g, ' ')
        .replace(/\b(re|fwd?):/gi, ' ')
        .replace(/\S+@\S+/g, ' ') // addresses
        .replace(/\s+/g, ' ')
        .trim();
      const key = subject.toLowerCase();
      if (subject.length >= 5 && !mails.has(key)) {
        mails.set(key, {group: group.name, subject, list: /^List-Id:.*<([^>]+)>/im.exec(text)?.[1] ?? ''});
      }
    }
  }
  return [...mails.values()];
}

/** At most `count` examples, with the same number of each class where there are enough. */
function balanced<T extends {label: number}>(examples: readonly T[], classes: number, count: number): T[] {
  const most = Math.ceil(count / classes);
  const taken = new Array<number>(classes).fill(0);
  const even = examples.filter(({label}) => (taken[label] = taken[label]! + 1) <= most);
  return shuffled(even, 1).slice(0, count); // examples of a rare class are the last ones
}
