import {checkCount, checkNumber, checkOptions} from '../../platform/errors';

/** How a new head is trained before the layers that are adapted. */
export interface HeadFirst {
  /** Default: 20. */
  epochs?: number;
  /** The rate of Adam. Default: 3e-3. */
  learningRate?: number;
  /**
   * Keeps the head alone if the mean loss of its last epoch is below this: the features separate the classes, and
   * adapting them gains little. Default: 0, which adapts in any case.
   */
  enough?: number;
}

/** @throws LoRAError if they are no settings of a head. */
export function headSettingsOf(headFirst: boolean | HeadFirst): Required<HeadFirst> | undefined {
  if (headFirst === false) {
    return undefined;
  }
  const headArgs = headFirst === true ? {} : headFirst;
  checkOptions(headArgs, {epochs: true, learningRate: true, enough: true});
  const {epochs = 20, learningRate = 3e-3, enough = 0} = headArgs;
  checkCount('headFirst.epochs', epochs);
  checkNumber('headFirst.learningRate', learningRate, learningRate > 0, 'a number above 0');
  checkNumber('headFirst.enough', enough, enough >= 0, 'a number, 0 or more');
  return {epochs, learningRate, enough};
}
