/** The entry of the worker: calls come in; results, errors, and news of loading and training go out. */
import {answerCalls} from '../../shared/worker';
import {SentenceEngine} from './encoder';

answerCalls(tell => new SentenceEngine(tell));
