import {type Labelled, type Mail, randomFrom, readMails, shuffled} from '../encoder/data';

/** Subject lines, which are spam (1) or not (0). */
export interface Subjects {
  /** What the cluster has: mails that people wrote, and spam. */
  cluster: Labelled[];
  /** What this device alone has: newsletters that its owner wants, and spam. */
  own: Labelled[];
  /** Of both kinds, which nobody trains on. */
  mails: Labelled[];
  newsletters: Labelled[];
}

/** Of each of the two classes. */
const COUNTS = {cluster: 600, own: 120, heldOut: 160};

/** Subject lines from the folder of SpamAssassin's mails. */
export function subjectsIn(folder: string): Subjects {
  const mails = shuffled(readMails(folder), randomFrom(7));
  const next = (group: string, label: number) => {
    const texts = mails.filter((mail: Mail) => mail.group.startsWith(group)).map(({subject}) => subject);
    return (count: number): Labelled[] => texts.splice(0, count).map(text => ({text, label}));
  };
  const [spam, people, newsletters] = [next('spam', 1), next('easy-ham', 0), next('hard-ham', 0)];
  const {cluster, own, heldOut} = COUNTS;
  return {
    mails: [...spam(heldOut), ...people(heldOut)],
    cluster: [...spam(cluster), ...people(cluster)],
    own: [...spam(own), ...newsletters(own)],
    newsletters: newsletters(heldOut), // as many as are left
  };
}
