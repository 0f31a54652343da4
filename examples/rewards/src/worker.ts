/** The entry of the worker: calls come in; results, errors, and news of loading, training and answers go out. */
import {answerCalls} from '../../shared/worker';
import {RewardsEngine} from './engine';

answerCalls(tell => new RewardsEngine(tell));
