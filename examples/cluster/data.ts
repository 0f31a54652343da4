import {type Labelled, type Mail, randomFrom, readMails, shuffled} from '../encoder/data';

/** Subject lines: spam (1) or not (0). */
export interface Subjects {
  /** The data of the cluster: mail that people wrote, and spam. */
  cluster: Labelled[];
  /** The data of this device: newsletters that its owner wants, and spam. */
  own: Labelled[];
  /** Held-out mail and newsletters. */
  mails: Labelled[];
  newsletters: Labelled[];
}

/** How many of each class. */
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
